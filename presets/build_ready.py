"""Make anew what the page shows before anything was run (`caa_core.app.opening.ready`).

    python -m presets.build_ready [NAME ...]

Each experiment is run as its button runs it, with what its form begins with (of Compete, with two voices that speak),
in float32, in which the same comes out on every machine but for rounding.
"""

import json
import subprocess
import sys
from typing import Any

import gradio as gr

from caa_core.app.opening.ready import MADE_BEFORE, OPENS_WITH, contests, ready_file
from caa_core.app.panels.contest import tab as contest
from caa_core.app.panels.experiment import Experiment
from caa_core.app.panels.generate import tab as generate
from caa_core.app.panels.measuring import evaluation, inspection, open_questions, paper, study
from caa_core.app.panels.page import Page
from caa_core.app.panels.steer import tab as steer
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.presets import PRESETS, presets
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel

NAMES = ("steer", "generate", "compete", "compete-verdict", "measure", "behaviours", "study", "open", "views")
# What the lesson alone shows, and contests that are one click away; with the experiment of each.
OF_LESSON = {
    "generate-compare": "generate-compare",
    "lesson-verdict": "measure",
    "lesson-thinking": "compete-reasoning",
}
OF_CONTESTS = {
    file: experiment
    for a, files in contests().items()
    if a != OPENS_WITH
    for file, experiment in zip(files, ("compete-verdict", "compete"), strict=True)
}
OTHERS = OF_LESSON | OF_CONTESTS


def contest_of(a: str, **more: Any) -> dict[str, Any]:
    """A preset against the one that it opposes, as its choice on the page fills it in: at the layer of its card."""
    preset = presets()[a]
    return {"vector_a": a, "layer_a": preset.layer, "vector_b": preset.opposes, "layer_b": preset.layer, **more}


FIRST = contest_of(OPENS_WITH, contest=OPENS_WITH)
OTHERWISE = {
    "compete": {**FIRST, "question": "Tell me about the ocean."},
    "compete-verdict": FIRST,
    "behaviours": {"layers": "0,3,6,9,12,15,18,21,24,27", "items": 8, "controls": 2},  # all of them take an hour
    "study": {"controls": 2},  # beside its estimates, which have 999 of each kind; more take minutes
    "lesson-verdict": {"questions": True, "layers": "12", "multipliers": "-1,1"},
    "lesson-thinking": {**FIRST, "prompts": 8, "thoughts": 1, "tokens": 32},
    **{
        name: contest_of(a := name.partition("-")[2], contest=a, question=presets()[a].prompts[0])
        for name in OF_CONTESTS
    },
}
# Where the code and the data lie that numbers come from.
COMPUTING = (
    *(f"caa_core/{room}" for room in ("data", "model", "steering", "vectors", "metrics", "measuring", "contest")),
    *("presets", ":(exclude)presets/ready", ":(exclude)presets/*.py"),
)
# Significant digits of numbers that are kept.
DIGITS = 6


def drawn(studio: Studio) -> dict[str, Experiment[Any]]:
    """The experiments of a newcomer's page by name."""
    with gr.Blocks() as blocks:
        page = Page(studio, blocks, gr.Markdown(), gr.State(0), steer.controls(studio), gr.State(0))
        for one in (steer, generate, contest, evaluation, paper, study, open_questions, inspection):
            with gr.Tab() as tab:
                one.build(page, tab)
    owners = [getattr(one.handler, "__self__", None) for one in page.restores]
    return {one.name: one for one in owners if isinstance(one, Experiment)}


def asked_of(one: Experiment[Any], name: str = "") -> dict[str, Any]:
    """What an experiment is asked, by name: what its form holds at first, but for `OTHERWISE`. name: of what is made,
    where that is not the experiment's.
    """
    begins = {name: getattr(part, "value", None) for name, part in one.form.items()}
    return begins | {name: value for name, value in OTHERWISE.get(name or one.name, {}).items() if name in begins}


def fresh(one: Experiment[Any], name: str = "") -> dict[str, Any]:
    """What is kept of a run with what is asked."""
    session, form = Session(), asked_of(one, name)
    if one.name == generate.PANEL:  # of which the vector is kept, which ships with its preset
        return {"asked": one.settings(session, form), "vector": generate.FIRST}
    try:
        for _ in one.updates(session, form):
            pass
        return without_bulk(dict(session.person.results[one.name]))
    finally:
        session.person.end()


def without_bulk(kept: dict[str, Any]) -> dict[str, Any]:
    """A result in which behaviours name their presets' vectors, which ship, and have their points at one layer."""
    for one in kept.get("found", {}).get("findings", ()):
        one["vector"] = {"preset": one["name"]}
        at = one["scatter"]["layers"].index(one["layer"])
        one["scatter"] |= {name: [one["scatter"][name][at]] for name in ("layers", "x", "y", "explained", "along")}
    return kept


def rounded(data: Any) -> Any:
    """The same plain data, with numbers to so many significant digits as are kept."""
    if isinstance(data, dict):
        return {name: rounded(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [rounded(value) for value in data]
    return float(f"{data:.{DIGITS}g}") if isinstance(data, float) else data


def without_time(found: dict[str, Any]) -> dict[str, Any]:
    """A result without what is different in each run, however equal they are."""
    return {name: value for name, value in found.items() if name != "status"}


def papers(model: SteerableModel) -> dict[str, str]:
    """With what a result is made now. The commit is the last one that changed anything on which numbers depend."""

    def git(*command: str) -> str:
        asked = ["git", *command, "--", *COMPUTING]
        return subprocess.run(asked, cwd=PRESETS.parent, capture_output=True, text=True, check=True).stdout.strip()

    changed = " and what was changed since" if git("status", "--porcelain") else ""
    return {**model.provenance, "commit": git("log", "-1", "--format=%h") + changed}


def write(found: dict[str, Any], made: dict[str, str], name: str) -> None:
    """Write a result into the file in which it ships, without how long it took."""
    kept = {**without_time(found), "asked": {**found["asked"], MADE_BEFORE: made}}
    text = json.dumps(rounded(kept), indent=None, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    ready_file(name).parent.mkdir(exist_ok=True)
    ready_file(name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    studio = Studio(DEFAULT_MODEL, dtype="float32")
    made, experiments = papers(studio.model), drawn(studio)
    for name in sys.argv[1:] or (*NAMES, *OTHERS):
        write(fresh(experiments[OTHERS.get(name, name)], name), made, name)
        print(f"{name}: made", flush=True)

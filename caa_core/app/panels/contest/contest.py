"""Which of two voices the model follows: the verdict of the Compete tab, over answers of each to the same prompts."""

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.forms import control
from caa_core.app.panels.common import (
    busy,
    download_buttons,
    events,
    guarded,
    plain,
    report_downloads,
    shared_bar,
    stoppable,
)
from caa_core.app.panels.experiment import Cache
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.contest.contest import ContestRequest
from caa_core.contest.dominance import Contest
from caa_core.contest.runs import KEPT, run
from caa_core.contest.voice import Voice
from caa_core.data.presets import find_contest, presets
from caa_core.limits import PAIRS, PROMPT
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.contest import ROWS, TABLE, dominance_gauge, report_of, table_of, voices_apart

PANEL = "compete-verdict"
# What was measured before is shared by the sections.
CACHE = Cache("compete-known", KEPT)
ABOUT = (
    "Answers of A and of B to the same prompts: how much likelier do the voices make each, alone and together? "
    "Controls are vectors that say nothing, drawn at random and made from shuffled labels: a voice speaks where it "
    "does more than they do."
)
MEANING = (
    "m = log p(answer of A) − log p(answer of B), in nats a token (0.1: each token about 10 % likelier); Δ is how a "
    "voice changes m: A should push it up, B down. D is 1 where both together do what A alone does, −1 where they do "
    "what B alone does; D₀ is what adding the two predicts, I what they do beyond it. Intervals are over prompts. "
    "Controls have the norm of the voice; second voices also have B's cosine to A. KL is how far the model is from "
    "itself unsteered. Repetition is the share of written tokens that repeat a run of four."
)
FORMATS = {".json": "Report (JSON)", ".csv": "Items (CSV)", ".html": "Report (HTML)"}

# From the values of the tab's controls to the two voices, on the worker.
Prepare = Callable[..., Generator[Progress, None, tuple[Voice, Voice]]]


class ContestPanel:
    """Draws what to ask and what was found. Call `draw` where it belongs in the layout, then `wire`."""

    def __init__(self, studio: Studio):
        self.studio = studio

    def draw(self, first: str) -> None:
        """Draw it; `first` is the preset whose contest is filled in."""
        choices = [(f"{name} against {preset.opposes}", name) for name, preset in presets().items()]
        gr.Markdown(f"### Which voice does the model follow?\n{ABOUT}")
        with gr.Row(equal_height=True):
            self.contest = gr.Dropdown(
                choices, value=first, label="Answers of A and of B", elem_id=f"{PANEL}-contest", min_width=200
            )
            self.file = gr.File(
                label="or yours: prompt, a, b",
                file_types=[".json", ".jsonl", ".csv", ".tsv", ".parquet"],
                height=130,
                elem_id=f"{PANEL}-file",
                min_width=200,
            )
            most = ContestRequest.options()["controls"].default
            self.controls = control(
                ContestRequest,
                "controls",
                minimum=0,
                maximum=most,
                step=1,
                elem_id=f"{PANEL}-controls",
                min_width=160,
            )
            with gr.Column(min_width=120):
                self.measure = gr.Button("Measure", variant="primary", elem_id=f"{PANEL}-measure", size="md")
                self.halt = gr.Button("Stop", variant="stop", elem_id=f"{PANEL}-stop", size="md")
        self.status = gr.Markdown(elem_id=f"{PANEL}-status")
        self.said = gr.Markdown(elem_id=f"{PANEL}-said")
        with gr.Row(equal_height=False):
            with gr.Column(visible=False, min_width=300) as self.gauge_box:
                self.gauge = figure("Dominance", f"{PANEL}-gauge")
            with gr.Column(visible=False, min_width=300) as self.apart_box:
                self.apart = figure("Each voice", f"{PANEL}-apart")
        self.numbers = gr.Markdown(elem_id=f"{PANEL}-numbers", elem_classes="numbers")
        with gr.Accordion("Item by item", open=False, visible=False, elem_id=f"{PANEL}-items") as self.items:
            self.table = gr.Dataframe(
                headers=list(ROWS.values()),
                interactive=False,
                wrap=True,
                column_widths=["18%", "23%", "23%", "9%", "9%", "9%", "9%"],
                buttons=["fullscreen"],
                elem_id=f"{PANEL}-table",
            )
        with gr.Row(visible=False) as self.files:
            self.downloads = download_buttons(PANEL, FORMATS)

    def wire(
        self,
        entered: Dependency,
        prepare: Prepare,
        values: Sequence[gr.components.Component],
        system: gr.Textbox,
        positions: gr.Dropdown,
    ) -> None:
        """Let the buttons work. `prepare` is called as prepare(model, session, *values). After `entered` the verdict is
        shown that the person had before a reload.
        """

        @guarded
        def measure(request: gr.Request, *asked: Any) -> Iterator[dict]:
            session = self.studio.session(request.session_hash)
            bout, known = bout_of(*asked[:5]), CACHE.of(session.person)

            def work(model: SteerableModel) -> Generator[Progress, None, None]:
                found = yield from run(model, bout, *(yield from prepare(model, session, *asked[5:])), known)
                CACHE.keep(session.person, known)
                session.person.remember(PANEL, found)

            yield {self.status: "Waiting for the model ...", **busy(self.measure)}
            job = self.studio.run(work)
            for progress in events(session, PANEL, job):
                yield {self.status: shared_bar(self.studio, progress)}
            if job.stopped:
                yield {self.status: "Stopped; what was there before is still shown."}
                return
            yield {self.status: "", **self._shown(session.person, session.person.results[PANEL])}

        @guarded
        def restore(request: gr.Request) -> dict:
            person = self.studio.session(request.session_hash).person
            kept = person.results.get(PANEL)
            return self._shown(person, kept) if kept else {self.status: gr.skip()}

        silent = {"show_progress": "hidden", "api_visibility": "private"}
        asked = [self.contest, self.file, self.controls, system, positions, *values]
        shown = [self.status, self.said, self.gauge_box, self.gauge, self.apart_box, self.apart, self.numbers]
        shown += [self.items, self.table, self.files, *self.downloads.values()]
        measuring = self.measure.click(measure, asked, [*shown, self.measure], **silent)
        stoppable(self.studio, PANEL, measuring, self.measure, self.halt, self.status)
        entered.then(restore, None, shown, **silent)

    def _shown(self, person: Person, found: dict[str, Any]) -> dict:
        contest = Contest.of(found)
        gauge = dominance_gauge(contest)
        return {
            self.said: _words(contest, found["provenance"]["data"]),
            self.gauge_box: gr.Column(visible=gauge is not None),
            self.gauge: gauge,
            self.apart_box: gr.Column(visible=True),
            self.apart: voices_apart(contest),
            self.numbers: _numbers(contest),
            self.items: gr.Accordion(visible=True),
            self.table: [[_rounded(row[name]) for name in ROWS] for row in contest.rows],
            self.files: gr.Row(visible=True),
            **report_downloads(self.downloads, person, report_of(found)),
        }


def bout_of(name: str, file: str | None, controls: float, system: str, positions: str) -> ContestRequest:
    """What the section asks for. Raises InputError for what cannot be."""
    dataset = find_contest(Path(file) if file else name)
    PAIRS.check(len(dataset.pairs))
    PROMPT.check(len(system or ""))
    return ContestRequest.parse(data=dataset, positions=positions, system=system, controls=controls)


def _words(found: Contest, data: str) -> str:
    """The verdict, its numbers below it, and what it rests on."""
    head, *numbers = re.split(": (?=D = |Δ of )", found.verdict, maxsplit=1)
    rests = f"{found.items} items of {data}, {found.prompts} prompts. A single answer may well go another way."
    return "\n\n".join([f"#### {plain(head)}", *map(plain, numbers), plain(rests), f"<small>{MEANING}</small>"])


def _numbers(found: Contest) -> str:
    """Each voice beside its controls and what it costs, and the self-test."""
    lines = [f"| {' | '.join(TABLE)} |", f"|{'---|' * len(TABLE)}"]
    lines += [f"| {' | '.join(map(plain, row))} |" for row in table_of(found)]
    if found.self_test is not None:
        good = found.self_test == 0
        colour, said = ("#009E73", "✓ Self-test passed") if good else ("#D55E00", "✗ Self-test failed")
        lines += [
            "",
            f'<span style="color:{colour};font-weight:600">{said}</span>: each vector with its own opposite changes m '
            f"by {found.self_test:.2g}.",
        ]
    return "\n".join(lines)


def _rounded(value: str | float) -> str | float:
    return round(value, 2) if isinstance(value, float) else value

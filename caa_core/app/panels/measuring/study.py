"""Positions and cues: where to steer, where to read and how to ask, compared on the same items."""

from collections.abc import Generator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.panels.common import (
    busy,
    download_buttons,
    events,
    guarded,
    plain,
    recommended,
    report_downloads,
    shared_bar,
    stoppable,
    whole,
)
from caa_core.app.panels.measuring.evaluation import items_of
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.data.columns import Columns
from caa_core.data.pairs import Dataset, read_pairs
from caa_core.data.presets import find_pairs, presets
from caa_core.errors import InputError
from caa_core.limits import PAIRS
from caa_core.measuring.study import POSITIONS, READS, Study, StudyRequest, size, study
from caa_core.metrics.controls import CONTROLS, check_controls
from caa_core.metrics.grid import parse_layers, parse_multipliers
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import CUES as ALL_CUES
from caa_core.progress import Progress, showing
from caa_core.reports.study import FORMATS, about, rows_in_words, study_dots, write_study
from caa_core.steering.activations import RULES
from caa_core.steering.interventions import POSITIONS as ALL_POSITIONS

PANEL, KNOWN = "study", "study-known"
FIRST = "joy"
FIRST_MULTIPLIERS = "1"  # each other one takes as long again: minutes with all controls
MOST_KEPT = 1000  # rows
ONE_AT_A_TIME, GRID = "One factor at a time", "Every combination"
ABOUT = (
    "Which tokens should be steered, where should the residual stream be read, and does the model need a cue to "
    "answer? Every combination is measured on the same items, beside controls of the same norm: "
    "vectors drawn at random, and vectors made from the same pairs with shuffled labels."
)
DRAWN = (
    "Dots: change against the unsteered model with 95 % intervals. Grey: how far controls of the same norm go. "
    "While one factor varies, the other two stay at the base."
)
FILES = [".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet"]


def build(studio: Studio, entered: Dependency) -> None:
    """Draw the tab; after `entered` is shown what the person had measured before a reload."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            with gr.Row():
                preset = gr.Dropdown(
                    list(presets()),
                    value=FIRST,
                    label="Behaviour",
                    info="vectors from its pairs, measured on its held-out items",
                    elem_id="study-preset",
                    min_width=140,
                )
                questions = gr.Checkbox(
                    False, label="as A/B questions", info="The same texts as options (A) and (B).", min_width=140
                )
            with gr.Accordion("or files of your own", open=False):
                pairs = gr.File(label="contrast pairs", file_types=FILES, height=110, elem_id="study-pairs")
                items = gr.File(label="test items", file_types=FILES, height=110, elem_id="study-items")
                columns = gr.Textbox(label="Columns of your files", placeholder="PROMPT,POSITIVE,NEGATIVE")
            with gr.Row():
                layers = gr.Textbox(
                    str(recommended(studio, FIRST)[0]),
                    label="Layer",
                    info="one, or a few: 10,12",
                    elem_id="study-layers",
                    min_width=100,
                )
                multipliers = gr.Textbox(
                    FIRST_MULTIPLIERS,
                    label="Multipliers",
                    info="commas between",
                    elem_id="study-multipliers",
                    min_width=100,
                )
            design = gr.Radio([ONE_AT_A_TIME, GRID], value=ONE_AT_A_TIME, label="Compare", elem_id="study-design")
            with gr.Accordion("More settings", open=False, elem_id="study-settings"):
                with gr.Row():
                    most_items = gr.Number(
                        12,
                        label="At most so many items",
                        info="0: all",
                        precision=0,
                        elem_id="study-most",
                        min_width=120,
                    )
                    most_pairs = gr.Number(50, label="At most so many pairs", info="0: all", precision=0, min_width=120)
                controls = gr.Number(
                    CONTROLS,
                    label="Controls of each kind",
                    info=f"Random vectors, and as many from shuffled labels. With fewer than {CONTROLS}, no effect.",
                    precision=0,
                    elem_id="study-controls",
                )
                positions = _levels("Steered positions", list(dict.fromkeys([*POSITIONS, *ALL_POSITIONS])), POSITIONS)
                reads = _levels("Read positions", list(dict.fromkeys([*READS, *RULES])), READS)
                cues = _levels("Answer cues", [name for name in ALL_CUES if name], [])
            said = gr.Markdown(_size(studio, _asked({})), elem_id="study-size")
            with gr.Row():
                start = gr.Button("Compare", variant="primary", size="md", min_width=90, elem_id="study-run")
                stop = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="study-stop")
            status = gr.Markdown(elem_id="study-status")
        with gr.Column(scale=5, min_width=300):
            hint = gr.Markdown(ABOUT)
            with gr.Column(visible=False) as results:
                answers = gr.Markdown(elem_id="study-answers")
                layer = gr.Radio([], label="Layer", visible=False, elem_id="study-layer")
                dots = figure("Change by position and cue", "study-dots")
                gr.Markdown(f"<small>{DRAWN}</small>")
                with gr.Row():
                    names = ("Data (JSON)", "Rows (CSV)", "Report (HTML)")
                    files = download_buttons("study", dict(zip(FORMATS, names, strict=True)))
    with gr.Accordion("All rows in numbers", open=False, visible=False, elem_id="study-rows") as details:
        table = gr.Dataframe(
            [], interactive=False, max_height=420, buttons=["fullscreen"], wrap=True, elem_id="study-table"
        )

    def draw(found: Study) -> dict:
        """Updates that show a study."""
        headers, rows = rows_in_words(found)
        return {
            results: gr.Column(visible=True),
            details: gr.Accordion(visible=True),
            hint: gr.Markdown(visible=False),
            answers: _in_words(found),
            layer: gr.Radio(found.layers, value=found.layers[0], visible=len(found.layers) > 1),
            dots: study_dots(found, found.layers[0]),
            table: gr.Dataframe(rows, headers=headers),
        }

    def write(person: Person, found: Study) -> dict:
        """Updates for its files."""
        name = f"positions and cues on {found.provenance['data']}"
        return report_downloads(files, person, name, lambda path: write_study(found, path))

    @guarded
    def run(request: gr.Request, *values: Any) -> Iterator[dict]:
        asked = dict(zip(fields, values, strict=True))
        made_from, measured_on, chosen, wanted, steps, beside_each = _asked(asked)
        person = (session := studio.session(request.session_hash)).person
        parse_layers(wanted, studio.model.num_layers)
        known = _known(person)
        kept, come, drawn = {**asked, "pairs": None, "items": None}, [], 0

        def work(model: SteerableModel) -> Generator[Any, None, Study]:
            numbers = parse_layers(wanted, model.num_layers)
            answer = study(model, made_from, measured_on, numbers, steps, chosen, beside_each, known)
            return (yield from _noted(answer, person, known, kept, come))

        yield {status: "Waiting for the model ...", **busy(start)}
        job = studio.run(work)
        for event in events(session, PANEL, job):
            told = {status: shared_bar(studio, event) if isinstance(event, Progress) else gr.skip()}
            if len(come) > drawn:
                drawn = len(come)
                told |= draw(come[-1])
            yield told
        if not come:
            yield {status: "Stopped before anything was measured."}
            return
        found = come[-1]
        done = f"{len(found.rows)} of {found.cells} cells"
        said = f"Stopped with {done}. Compare again to go on from there." if job.stopped else f"Measured {done}."
        yield {status: said, **draw(found), **write(person, found)}

    @guarded
    def again(request: gr.Request, at: int) -> Any:
        kept = studio.session(request.session_hash).person.results.get(PANEL)
        return study_dots(Study.of(kept["found"]), whole(at, "The layer")) if kept else gr.skip()

    @guarded
    def restore(request: gr.Request) -> dict:
        person = studio.session(request.session_hash).person
        kept = person.results.get(PANEL)
        if not kept:
            return {status: gr.skip()}
        try:
            form = {part: kept["asked"][name] for name, part in settings.items() if name not in ("pairs", "items")}
            found = Study.of(kept["found"])
            return {**form, **draw(found), **write(person, found)}
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise InputError("The study that was kept cannot be read.") from error

    @guarded
    def look(*values: Any) -> str:
        return _size(studio, _asked(dict(zip(fields, values, strict=True))))

    @guarded
    def follow(name: str) -> str:
        return str(recommended(studio, name)[0])

    silent = {"api_visibility": "private", "show_progress": "hidden"}
    settings = {
        "pairs": pairs,
        "items": items,
        "preset": preset,
        "questions": questions,
        "columns": columns,
        "layers": layers,
        "multipliers": multipliers,
        "design": design,
        "most_items": most_items,
        "most_pairs": most_pairs,
        "controls": controls,
        "positions": positions,
        "reads": reads,
        "cues": cues,
    }
    fields, form = list(settings), list(settings.values())
    shown = [results, details, hint, answers, layer, dots, table, *files.values()]
    measuring = start.click(run, form, [status, start, *shown], **silent)
    stoppable(studio, PANEL, measuring, start, stop, status, "It ended early; what had been measured is kept.")
    entered.then(restore, None, [status, *form, *shown], **silent)
    layer.input(again, layer, dots, **silent)
    chosen = [questions.input, design.input, positions.input, reads.input, cues.input]
    chosen += [count.blur for count in (most_items, most_pairs, controls)]
    gr.on([*chosen, layers.blur, multipliers.blur, columns.submit], look, form, said, **silent)
    for upload in (pairs, items):
        # A file that could not be read leaves its place to the next one.
        upload.change(look, form, said, **silent).failure(lambda: None, None, upload, **silent)
    preset.input(follow, preset, layers, **silent).then(look, form, said, **silent)


def _levels(label: str, choices: list[str], chosen: Any) -> gr.Dropdown:
    info = "" if chosen else "none chosen: those that make sense for the items"
    return gr.Dropdown(choices, value=list(chosen), multiselect=True, allow_custom_value=True, label=label, info=info)


def _asked(asked: dict[str, Any]) -> tuple[Dataset, Dataset, StudyRequest, str, list[float], int]:
    """Pairs, items, design, layers, multipliers and the number of controls, of what the form holds."""
    name = asked.get("preset", FIRST) or ""
    if asked.get("questions"):
        name += ":ab"
    columns = asked.get("columns") or ""
    if file := asked.get("pairs"):
        pairs = read_pairs(Path(file), columns=Columns.parse(columns) if columns.strip() else None)
    elif name.partition(":")[0] in presets():
        pairs = find_pairs(name)
    else:
        raise InputError(f"Give a file of contrast pairs, or one of the presets: {', '.join(presets())}.")
    pairs = pairs.first(whole(asked.get("most_pairs", 50), "The number of pairs"))
    PAIRS.check(len(pairs.pairs))
    items = items_of(asked.get("items"), name, columns, asked.get("most_items", 12))
    levels = ([str(level) for level in asked.get(factor) or []] for factor in ("positions", "reads", "cues"))
    design = StudyRequest.of(pairs, items, *levels, asked.get("design") == GRID)
    controls = whole(asked.get("controls", CONTROLS), "The number of controls")
    multipliers = parse_multipliers(asked.get("multipliers", FIRST_MULTIPLIERS) or "")
    return pairs, items, design, asked.get("layers") or "0", multipliers, check_controls(controls) if controls else 0


def _size(studio: Studio, asked: tuple[Dataset, Dataset, StudyRequest, str, list[float], int]) -> str:
    pairs, items, design, layers, multipliers, controls = asked
    there = parse_layers(layers, studio.model.num_layers)
    told = f"{plain(items.name)}: {len(items.pairs)} items. {size(pairs, design, there, multipliers, controls)}."
    return f"<small>{told}</small>"


def _known(person: Person) -> MutableMapping[str, Any]:
    """Rows that were measured before."""
    kept = person.results.get(KNOWN)
    return dict(kept) if isinstance(kept, dict) else {}


def _noted(
    work: Generator[Progress | Study, None, Study],
    person: Person,
    known: MutableMapping[str, Any],
    asked: dict[str, Any],
    come: list[Study],
) -> Generator[Progress | Study, None, Study]:
    """Run it, and keep what has come after each part, whether or not the page still listens; `come` is for the page."""

    def keep(found: Study) -> Study:
        come.append(found)
        person.remember(PANEL, {"asked": asked, "found": found.summary()})
        person.remember(KNOWN, dict(list(known.items())[-MOST_KEPT:]))
        return found

    return keep((yield from showing(work, keep)))


def _in_words(found: Study) -> str:
    """The answers, and what they rest on, as Markdown."""
    lines = [f"- {plain(sentence)}" for sentence in found.answers]
    left = [f"<small>Left out: {plain(reason[:300])}</small>" for reason in (*found.left_out, *found.skipped[:1])]
    return "\n\n".join(["\n".join(lines), f"<small>{plain(about(found))}</small>", *left])

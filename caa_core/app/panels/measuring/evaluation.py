"""Measure: what a vector does to test items at every layer and multiplier, beside controls, and what it costs."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.forms import control
from caa_core.app.panels.common import (
    busy,
    download_buttons,
    events,
    guarded,
    misfits,
    plain,
    report_downloads,
    shared_bar,
    stoppable,
    vector_choices,
    vector_picker,
)
from caa_core.app.panels.measuring.paper_figures import PaperFigures, keep_items
from caa_core.app.panels.page import Page, Tab
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.data.columns import Columns
from caa_core.data.pairs import Dataset, read_pairs
from caa_core.data.presets import find_test_pairs, presets
from caa_core.errors import InputError
from caa_core.limits import PAIRS
from caa_core.measuring.evaluation import EVERY_THIRD, Evaluation, EvaluationRequest, evaluate, pack, unpack
from caa_core.measuring.quick_check import Capability
from caa_core.measuring.sweep import SweepCell
from caa_core.measuring.verdict import KeptNumbers
from caa_core.metrics.grid import number, whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.evaluation import COST, EFFECT, VALUE, cells_in_words, report_of, sweep_map
from caa_core.steering.interventions import AFTER_PROMPT, Positions
from caa_core.vectors.vector import SteeringVector

PANEL, KNOWN = "measure", "measure-known"
FIRST = "joy"
MAPS = {"Effect": EFFECT, "As asked": VALUE, "Cost (KL)": COST}
VERDICTS = ("An effect on this model", "No effect on this model", "Not judged yet", "Not judged")
ABOUT = (
    "What does a vector do to items that it was not made from? Every cell of the map is a layer and a multiplier. "
    "Settings are proposed from one half of the items and judged on the other, beside vectors that should do nothing."
)
MAPS_INFO = (
    "Effect: change against the unsteered model, over both letter orders where items have letters. As asked: in the "
    "order given, letter and all. Cost: how far the distribution moves. Click a cell to steer with it."
)
# The plot is drawn anew with every value and has no event of its own, so what is clicked in it is taken from plotly.
ON_CLICK = """
const bind = () => {
  const plot = document.querySelector('#measure-map .js-plotly-plot');
  if (!plot || !plot.on || plot.dataset.bound) return;
  plot.dataset.bound = 'yes';
  plot.on('plotly_click', (event) => trigger('select', { index: 0, value: event.points[0].customdata }));
};
new MutationObserver(bind).observe(document.body, { childList: true, subtree: true });
bind();
"""
SAVE_FIGURE = """() => {{
  const plot = document.querySelector('#measure-map .js-plotly-plot');
  if (plot) window.Plotly.downloadImage(plot, {{ format: '{format}', filename: 'measure', scale: {scale} }});
}}"""
TO_STEER = """() => {
  const tabs = [...document.querySelectorAll('[data-tab-id="steer"]')];
  (tabs.find((tab) => tab.offsetParent && getComputedStyle(tab).visibility !== 'hidden') || tabs[0])?.click();
  window.scrollTo({ top: 0 });
}"""


@dataclass
class _Run:
    """What a run has come to, which the worker notes and the page reads: an evaluation's summary, and notes on it."""

    asked: dict[str, Any]
    found: dict[str, Any] | None = None

    def follow(
        self,
        person: Person,
        known: KeptNumbers,
        work: Generator[Progress | Evaluation, None, Evaluation],
        notes: list[str],
    ) -> Generator[Progress | Evaluation, None, None]:
        """Run it, and keep what has come after each part, whether or not the page still listens."""
        self.asked["notes"] = notes

        def keep(found: Evaluation) -> Evaluation:
            self.found = found.summary()
            person.remember(PANEL, {"asked": self.asked, "found": self.found})
            person.remember(KNOWN, pack(known))
            return found

        keep((yield from showing(work, keep)))


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    studio, steer_parts = page.studio, list(page.steer)
    first = find_test_pairs(FIRST)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            vector = vector_picker("Steering vector", FIRST, "measure-vector")
            with gr.Row():
                preset = gr.Dropdown(
                    list(presets()), value=FIRST, label="Held-out items of", elem_id="measure-preset", min_width=140
                )
                questions = gr.Checkbox(
                    False,
                    label="as A/B questions",
                    info="The same texts as options (A) and (B).",
                    elem_id="measure-questions",
                    min_width=140,
                )
            upload = gr.File(
                label="or test items of your own",
                file_types=[".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet"],
                height=130,
                elem_id="measure-upload",
            )
            kind = gr.Markdown(_kind(first, studio), elem_id="measure-kind")
            with gr.Row():
                layers = control(
                    EvaluationRequest, "layers", value=EVERY_THIRD, elem_id="measure-layers", min_width=140
                )
                multipliers = control(EvaluationRequest, "multipliers", elem_id="measure-multipliers", min_width=140)
            controls = control(EvaluationRequest, "controls", elem_id="measure-controls")
            with gr.Accordion("More settings", open=False, elem_id="measure-settings"):
                limit = gr.Number(0, label="At most so many items", info="0: all of them", precision=0)
                counts = control(EvaluationRequest, "counts")
                as_the_paper = control(EvaluationRequest, "paper_counting")
                positions = control(EvaluationRequest, "positions")
                cue = control(EvaluationRequest, "cue")
                columns = gr.Textbox(label="Columns of your file", placeholder="PROMPT,POSITIVE,NEGATIVE")
            with gr.Row():
                start = gr.Button("Measure", variant="primary", size="md", min_width=90, elem_id="measure-run")
                stop = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="measure-stop")
            status = gr.Markdown(elem_id="measure-status")
        with gr.Column(scale=5, min_width=300):
            hint = gr.Markdown(ABOUT)
            with gr.Column(visible=False) as results:
                verdict = gr.Markdown(elem_id="measure-verdict")
                shown = gr.Radio(list(MAPS), value="Effect", label="Map of", info=MAPS_INFO, elem_id="measure-shown")
                figure = gr.Plot(label="Layers and multipliers", elem_id="measure-map", show_label=False)
                with gr.Row(equal_height=True):
                    at_layer = gr.Dropdown([], label="Layer", elem_id="measure-layer", min_width=100)
                    at_multiplier = gr.Dropdown([], label="Multiplier", elem_id="measure-multiplier", min_width=100)
                    go = gr.Button("Steer with this cell", size="md", min_width=140, elem_id="measure-steer")
                with gr.Row():
                    formats = {".html": "Report (HTML)", ".json": "Report (JSON)", ".csv": "Cells (CSV)"}
                    files = download_buttons("measure", formats)
                    png = gr.Button("Figure (PNG)", size="sm", min_width=90, elem_id="measure-png")
                    svg = gr.Button("Figure (SVG)", size="sm", min_width=90, elem_id="measure-svg")
                paper = PaperFigures(studio)
                paper.draw()
            clicked = gr.HTML("", js_on_load=ON_CLICK, elem_id="measure-click")
    with gr.Accordion("All cells in numbers", open=False, visible=False, elem_id="measure-cells") as details:
        table = gr.Dataframe(
            [],
            interactive=False,
            max_height=420,
            buttons=["fullscreen"],  # not "copy", which makes CSV that a spreadsheet would run formulas from
            elem_id="measure-table",
        )

    def draw(person: Person, found: dict[str, Any], notes: Sequence[str], map_of: str) -> dict:
        """Updates that show an evaluation."""
        best = found["best"]
        cells = [SweepCell.of(cell) for cell in found["cells"]]
        there = [sorted({getattr(cell, name) for cell in cells}) for name in ("layer", "multiplier")]
        chosen = [best["layer"], best["multiplier"]] if best else [values[len(values) // 2] for values in there]
        headers, rows = cells_in_words(found)
        return {
            results: gr.Column(visible=True),
            details: gr.Accordion(visible=True),
            hint: gr.Markdown(visible=False),
            verdict: _in_words(found, notes),
            figure: _map(found, map_of),
            at_layer: gr.Dropdown(there[0], value=chosen[0]),
            at_multiplier: gr.Dropdown([(f"{m:g}", m) for m in there[1]], value=chosen[1]),
            **report_downloads(files, person, report_of(found)),
            table: gr.Dataframe(rows, headers=headers),
        }

    @guarded
    def run(request: gr.Request, name: str, map_of: str, *values: Any) -> Iterator[dict]:
        asked = dict(zip(fields, values, strict=True))
        question = _question(asked)
        person = (session := studio.session(request.session_hash)).person
        known = _known(person)
        running = _Run({"vector": name, **asked, "path": None})

        def work(model: SteerableModel) -> Generator[Any, None, None]:
            steering: SteeringVector = yield from studio.vector(model, session, name)
            keep_items(person, question.data)
            answer = evaluate(model, question, steering, known)
            yield from running.follow(person, known, answer, misfits(model, steering))

        drawn = None
        yield {status: "Waiting for the model ...", **busy(start)}
        job = studio.run(work)
        for event in events(session, PANEL, job):
            told = {status: shared_bar(studio, event)} if isinstance(event, Progress) else {status: gr.skip()}
            if running.found is not drawn:
                drawn = running.found
                told |= draw(person, drawn, running.asked["notes"], map_of)
            yield told
        if not running.found:
            yield {status: "Stopped before anything was measured."}
            return
        there = len(running.found["cells"])
        wanted = len(running.found["settings"]["layers"]) * len(question.multipliers)
        done = "Stopped with" if job.stopped else "Measured"
        said = f"{done} {there} of {wanted} cells." + (" Measure again to go on from there." if job.stopped else "")
        yield {status: said, **draw(person, running.found, running.asked["notes"], map_of)}

    @guarded
    def again(request: gr.Request, map_of: str) -> Any:
        kept = studio.session(request.session_hash).person.results.get(PANEL)
        return _map(kept["found"], map_of) if kept else gr.skip()

    @guarded
    def restore(request: gr.Request) -> dict:
        session = studio.session(request.session_hash)
        kept = session.person.results.get(PANEL)
        if not kept:
            return {status: gr.skip()}
        try:
            asked = kept["asked"]
            form = {part: asked[field] for field, part in settings.items() if field != "path"}
            form[vector] = gr.Dropdown(vector_choices(session), value=asked["vector"])
            return {**form, **draw(session.person, kept["found"], asked["notes"], "Effect")}
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError("The measurement that was kept cannot be read.") from error

    @guarded
    def look(path: str | None, name: str | None, as_questions: bool, columns: str) -> str:
        return _kind(items_of(path, _named(name, as_questions), columns), studio)

    @guarded
    def follow_vector(name: str, path: str | None, as_questions: bool) -> tuple[Any, Any]:
        if path or name not in presets():
            return gr.skip(), gr.skip()
        return name, _kind(find_test_pairs(_named(name, as_questions)), studio)

    @guarded
    def pick(request: gr.Request, event: gr.SelectData) -> list:
        if not isinstance(event.value, list) or len(event.value) != 2:
            raise InputError("Click a cell of the map.")
        return _to_steer(studio, request, *event.value)

    @guarded
    def choose(request: gr.Request, layer: int, multiplier: float) -> list:
        return _to_steer(studio, request, layer, multiplier)

    silent = {"api_visibility": "private", "show_progress": "hidden"}
    settings = {
        "path": upload,
        "preset": preset,
        "questions": questions,
        "layers": layers,
        "multipliers": multipliers,
        "controls": controls,
        "limit": limit,
        "counts": counts,
        "paper_counting": as_the_paper,
        "positions": positions,
        "cue": cue,
        "columns": columns,
    }
    fields = list(settings)
    drawn = [results, details, hint, verdict, figure, at_layer, at_multiplier, *files.values(), table]
    measuring = start.click(run, [vector, shown, *settings.values()], [status, start, *drawn], **silent)
    stoppable(studio, PANEL, measuring, start, stop, status, "It ended early; what had been measured is kept.")
    page.restore(restore, [status, vector, *settings.values(), *drawn])
    shown.input(again, shown, figure, **silent)
    source = [upload, preset, questions, columns]
    gr.on([preset.input, questions.input, columns.submit], look, source, kind, **silent)
    # A file that could not be read leaves its place to the next one.
    upload.change(look, source, kind, **silent).failure(lambda: None, None, upload, **silent)
    vector.input(follow_vector, [vector, upload, questions], [preset, kind], **silent)
    for picked in (
        clicked.select(pick, None, steer_parts, **silent),
        go.click(choose, [at_layer, at_multiplier], steer_parts, **silent),
    ):
        picked.success(None, js=TO_STEER)
    paper.wire(page.entered, at_layer)
    png.click(None, js=SAVE_FIGURE.format(format="png", scale=2))
    svg.click(None, js=SAVE_FIGURE.format(format="svg", scale=1))
    return Tab([vector])


def items_of(path: str | None, preset: str, columns: str = "", limit: Any = 0) -> Dataset:
    """Test items of an uploaded file, or a preset's held-out ones ("joy", "joy:ab"). Raises InputError for others."""
    if not path and (preset or "").partition(":")[0] not in presets():
        raise InputError(f"Give a file of test items, or one of the presets: {', '.join(presets())}.")
    named = Columns.parse(columns) if (columns or "").strip() else None
    data = read_pairs(Path(path), columns=named) if path else find_test_pairs(preset)
    data = data.first(whole(limit, "The number of items"))
    PAIRS.check(len(data.pairs))
    return data


def _named(preset: str | None, as_questions: bool) -> str:
    return f"{preset}:ab" if as_questions else preset or ""


def _question(asked: dict[str, Any]) -> EvaluationRequest:
    """What the tab asks for."""
    data = items_of(asked["path"], _named(asked["preset"], asked["questions"]), asked["columns"], asked["limit"])
    return EvaluationRequest.parse(data=data, **EvaluationRequest.chosen(asked))


def _known(person: Person) -> KeptNumbers:
    """What the person has measured before; nothing where that cannot be read."""
    try:
        return unpack(person.results.get(KNOWN))
    except InputError:
        return KeptNumbers()


def _to_steer(studio: Studio, request: gr.Request, layer: Any, multiplier: Any) -> list:
    """Updates of the Steer tab's vector, layer and multiplier."""
    session = studio.session(request.session_hash)
    asked = (session.person.results.get(PANEL) or {}).get("asked") or {}
    name = asked.get("vector")
    if name not in session.vectors and name not in presets():
        raise InputError("The vector that was measured is not in your list any more; make or upload it again.")
    layer = studio.model.check_layer(whole(layer, "The layer"))
    multiplier = number(multiplier, "The multiplier")
    if (positions := Positions.parse(asked["positions"] or str(AFTER_PROMPT))) != AFTER_PROMPT:
        gr.Info(f"It was measured with the steered positions {positions}: choose them in Steer's settings too.")
    # The slider takes what lies outside its range or between its steps, once it is made for it.
    slider = {"minimum": min(-4.0, multiplier), "maximum": max(4.0, multiplier)}
    step = 0.1 if abs(multiplier * 10 - round(multiplier * 10)) < 1e-9 else 0.01
    return [name, layer, gr.Slider(value=multiplier, step=step, **slider)]


def _kind(data: Dataset, studio: Studio) -> str:
    """What the items were taken for, and whether they suit the model."""
    told = f"{plain(data.name)}: {plain(data.kind)}."
    found = studio.capability
    if data.is_lettered and isinstance(found, Capability) and not found.answers_questions:
        told += " The loaded model does not answer A/B questions, so free-text items suit it better."
    return told


def _map(found: dict[str, Any], map_of: str) -> Any:
    best = found["best"]
    return sweep_map(
        [SweepCell.of(cell) for cell in found["cells"]],
        SweepCell.of(found["unsteered"]),
        MAPS.get(map_of, EFFECT),
        best and (best["layer"], best["multiplier"]),
    )


def _in_words(found: dict[str, Any], notes: Sequence[str]) -> str:
    """The verdict, and what it is about, as Markdown."""
    text = found["verdict"]["text"]
    start = next((start for start in VERDICTS if text.startswith(start)), "")
    lines = [plain(line) for line in text.removeprefix(start).splitlines()]
    lines[0] = f"**{start}**{lines[0]}" if start else lines[0]
    unsteered = SweepCell.of(found["unsteered"])
    about = (
        f"{plain(found['vector'])} on {plain(found['provenance']['model'])}, items of {plain(found['data'])}: "
        f"{found['items']} measured, {len(found['skipped'])} skipped. Unsteered {plain(found['measure'])}: "
        f"{plain(f'{unsteered.value:.2f}')}"
    )
    if unsteered.answer_mass is not None:
        about += f", answer mass {unsteered.answer_mass:.2f}"
    if unsteered.matching is not None:
        about += f"; written {unsteered.matching} matching, {unsteered.not_matching} not, {unsteered.neither} neither"
    lines.append(f"<small>{about}.</small>")
    if found["skipped"]:
        lines.append(f"<small>Skipped, for one: {plain(found['skipped'][0][:300])}</small>")
    return "\n\n".join([*lines, *notes])

"""Measure: what a vector does to test items at every layer and multiplier, beside controls, and what it costs."""

import html
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.as_code import AsCode, Here, Named
from caa_core.app.as_code import evaluation as evaluation_code
from caa_core.app.forms import control
from caa_core.app.made_from import held_out_of, pairs_of, unlike
from caa_core.app.panels.common import (
    LATEST,
    QUIET,
    Updates,
    download_buttons,
    guarded,
    markdown_table,
    misfits,
    plain,
    report_downloads,
    vector_choices,
    vector_picker,
    visible,
)
from caa_core.app.panels.controls import (
    PAIR_FILES,
    as_code,
    as_questions,
    at_most,
    file_picker,
    link_button,
    multiplier_at,
    numbers_table,
    run_buttons,
    source_of,
    words_table,
)
from caa_core.app.panels.experiment import Cache, Experiment, Plain, Run
from caa_core.app.panels.layout import choices, folded, to_tab
from caa_core.app.panels.made_with import Linked
from caa_core.app.panels.measuring.latest import EVALUATION, keep_items
from caa_core.app.panels.measuring.paper_figures import PaperFigures
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import clicks_in, save_button
from caa_core.app.quick_check import Capability
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.columns import Columns
from caa_core.data.pairs import Dataset, read_pairs
from caa_core.data.presets import find_test_pairs, pairs_behind, preset_behind, presets
from caa_core.errors import InputError
from caa_core.limits import PAIRS
from caa_core.measuring.costs.methods import OfMethod
from caa_core.measuring.evaluation import Evaluation, EvaluationEvent, evaluate, pack, unpack
from caa_core.measuring.requests import EVERY_THIRD, EvaluationRequest
from caa_core.measuring.sweep import SweepCell
from caa_core.measuring.told import CONTEXT
from caa_core.measuring.verdict import KeptNumbers
from caa_core.metrics.by_item import ByItem
from caa_core.metrics.cross_fitting import EFFECT as CALLED_EFFECT
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.metrics.grid import number, whole
from caa_core.metrics.options import OPERATION
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, each
from caa_core.reports.evaluation import (
    COST,
    EFFECT,
    FRONT,
    ITEM_HEADS,
    ON_ITEMS,
    TOLD_HEADS,
    VALUE,
    WRONG,
    before_steering,
    beside_prompts_in,
    cells_in_words,
    effect_by_cost,
    estimate_figure,
    expected_cells,
    item_dots,
    items_in_words,
    methods_in,
    no_figure,
    prompts_not_asked,
    report_of,
    sweep_map,
    told_in_words,
    unlike_estimate,
    verdict_in,
)
from caa_core.steering.interventions import AFTER_PROMPT, Positions

FIRST = "joy"
# In place of a preset: the items that were held out when the vector was made.
OWN = "the vector's own held-out pairs"
ESTIMATED = "Estimate"
MAPS = {"Effect": EFFECT, "As asked": VALUE, "Cost (KL)": COST, "Wrong way": WRONG, "Effect by cost": FRONT}
ABOUT = folded(
    "Does a vector work on items that it was not made from? Each layer and multiplier becomes a cell of a map.",
    "It is judged where the other half of the items chose, beside controls that choose as it does.",
)
MAPS_INFO = "Click a cell to steer with it. Pale: its interval holds 0."
MAPS_MORE = folded(
    "",
    "*Effect*: change against the unsteered model, over both letter orders where items have letters. *As asked*: in "
    "the order given, letter and all. *Cost*: how far the distribution moves. *Wrong way*: the share of prompts "
    "pushed against the multiplier's sign. *Effect by cost*: a point a cell, of other methods too where they were "
    "asked for; the line joins those of which none that costs no more does more, on these items. *Estimate*: what was "
    "estimated at every layer before anything was measured, with what controls do. All maps of one measure have one "
    "scale.",
    "What the maps show",
)
ITEM_WIDTHS: list[str | int] = [60, "30%", "20%", "20%", 90, 90, 80, 100]


class EvaluationForm:
    """What is set, in parts by the names under which it is kept."""

    def __init__(self, kind: gr.Markdown):
        """kind: says what the items are, and is rendered below where they are chosen."""
        self.vector = vector_picker("Steering vector", FIRST, "measure-vector")
        with gr.Row():
            self.preset = gr.Dropdown(
                [*presets(), OWN], value=FIRST, label="Test on", elem_id="measure-preset", min_width=140
            )
            self.questions = as_questions("measure-questions")
        kind.render()
        with gr.Row():
            self.layers = control(
                EvaluationRequest, "layers", value=EVERY_THIRD, elem_id="measure-layers", min_width=140
            )
            self.multipliers = control(EvaluationRequest, "multipliers", elem_id="measure-multipliers", min_width=140)

    def draw_more(self) -> None:
        """Draw what is set less often."""
        self.path = file_picker("or test items of your own", "measure-upload", PAIR_FILES)
        with gr.Accordion("More settings", open=False, elem_id="measure-settings"):
            self.prompts = control(EvaluationRequest, "prompts", value=True, elem_id="measure-prompts")
            self.by_methods = control(EvaluationRequest, "by_methods", elem_id="measure-by-methods")
            self.told = control(EvaluationRequest, "told", value=None, lines=3, max_lines=3, elem_id="measure-told")
            self.controls = control(EvaluationRequest, "controls", elem_id="measure-controls")
            self.limit = at_most("items")
            self.counts = control(EvaluationRequest, "counts")
            self.paper_counting = control(EvaluationRequest, "paper_counting")
            self.positions = control(EvaluationRequest, "positions")
            self.operation = control(EvaluationRequest, "operation", elem_id="measure-operation")
            self.together = control(EvaluationRequest, "together", elem_id="measure-together")
            self.shares = control(EvaluationRequest, "shares")
            self.cue = control(EvaluationRequest, "cue")
            self.columns = gr.Textbox(label="Columns of your file", placeholder="PROMPT,POSITIVE,NEGATIVE")


@dataclass(frozen=True)
class EvaluationChoice:
    """A vector by its name, what is asked of it, and what is to be said of the items."""

    vector: str
    request: EvaluationRequest
    note: str


class EvaluationPanel(Experiment[EvaluationChoice]):
    """The tab."""

    name = EVALUATION
    takes_settings = True
    cache = Cache("measure-known", most=4)  # the kinds of numbers of `pack`, which are trimmed in themselves
    aside = ("map",)
    after_error = "It ended early; what had been measured is kept."
    unreadable = "The measurement that was kept cannot be read."

    def __init__(self, page: Page):
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                about = _kind(find_test_pairs(FIRST), page.studio)
                kind = gr.Markdown(about, elem_id="measure-kind", render=False)
                with choices("measure") as line:
                    form = EvaluationForm(kind)
                buttons = run_buttons("Measure", "measure-run", "measure-stop")
                status = gr.Markdown(elem_id="measure-status")
                form.draw_more()
                copies = link_button(EVALUATION)
                as_code(page.studio, self.name, vars(form), written_as_code)
            with gr.Column(scale=5, min_width=300):
                self.hint = gr.Markdown(ABOUT)
                with gr.Column(visible=False) as self.results:
                    self.verdict = gr.Markdown(elem_id="measure-verdict", elem_classes="numbers")
                    self.map_of = gr.Radio(
                        [*MAPS, ESTIMATED], value="Effect", label="Map of", info=MAPS_INFO, elem_id="measure-shown"
                    )
                    gr.Markdown(MAPS_MORE)
                    self.map = gr.Plot(label="Layers and multipliers", elem_id="measure-map")
                    with gr.Row(equal_height=True):
                        self.at_layer = gr.Dropdown([], label="Layer", elem_id="measure-layer", min_width=100)
                        self.at_multiplier = gr.Dropdown(
                            [], label="Multiplier", elem_id="measure-multiplier", min_width=100
                        )
                        go = gr.Button("Steer with this cell", size="md", elem_id="measure-steer", min_width=140)
                        look = gr.Button("Its items, one by one", size="md", elem_id="measure-look", min_width=140)
                    with gr.Column(visible=False) as self.items:
                        gr.Markdown(ON_ITEMS)
                        self.dots = gr.Plot(label="Item by item", elem_id="measure-items")
                        self.item_table = words_table("measure-items-table", ITEM_HEADS, ITEM_WIDTHS)
                    with gr.Row():
                        formats = {".html": "Report (HTML)", ".json": "Report (JSON)", ".csv": "Cells (CSV)"}
                        self.downloads = download_buttons("measure", formats)
                        for format in ("PNG", "SVG"):
                            save_button("measure-map", "measure", format, format, 60, scale=0)
                    figures = PaperFigures(page, self.at_layer)
                clicked = clicks_in("measure-map", "measure-click")
        with gr.Accordion("All cells in numbers", open=False, visible=False, elem_id="measure-cells") as self.details:
            self.table = numbers_table("measure-table")
        asked = {**vars(form), "map": self.map_of}
        shown = [self.results, self.details, self.hint, self.verdict, self.map, self.at_layer, self.at_multiplier]
        shown += [*self.downloads.values(), self.table, self.items, page.vectors]
        self.vector = form.vector
        super().__init__(page, asked, [buttons.start], buttons.stop, status, shown)
        self.shown_by(self.map_of, [self.map], lambda _, kept, shown: {self.map: map_of(kept["found"], shown)})
        look.click(
            self.one_by_one, [self.at_layer, self.at_multiplier], [self.items, self.dots, self.item_table], **QUIET
        )
        page.watch([form.vector, form.preset, form.layers, form.multipliers], line, _in_one_line)
        self._tell_kind(form, kind)
        LinkedEvaluation(self, copies, kind)
        figures.follows(self)
        for picked in (
            clicked.select(self.pick, None, [*page.steer], **QUIET),
            go.click(self.choose, [self.at_layer, self.at_multiplier], [*page.steer], **QUIET),
        ):
            picked.success(None, js=to_tab("steer"))

    def ask(self, session: Session, form: Mapping[str, Any]) -> EvaluationChoice:
        items = _items(session, form)
        request = EvaluationRequest.parse(data=items, **EvaluationRequest.chosen(form))
        return EvaluationChoice(form["vector"], request, _note(session, form, items))

    def work(
        self, model: SteerableModel, session: Session, asked: EvaluationChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        numbers, notes = _numbers(known), [*filter(None, [asked.note]), *misfits(model, vector)]

        def packed(event: EvaluationEvent) -> Progress | Plain:
            if isinstance(event, Progress):
                return event
            return {"notes": notes, "found" if isinstance(event, Evaluation) else "estimate": event.summary()}

        request = replace(asked.request, made_from=pairs_of(session.person, vector))
        try:
            found = yield from each(evaluate(model, request, vector, numbers), packed)
            made = _kept(session, found.methods)
            return {"notes": notes, "found": found.summary(), **({"made": made} if made else {})}
        finally:
            known.update(pack(numbers))

    def for_everybody(self, run: Run[EvaluationChoice]) -> bool:
        """Vectors of other methods are kept among the person's, and what was written to a model is theirs."""
        asked, of_presets = run.asked, run.asked.vector in presets() and run.form["preset"] in presets()
        return of_presets and not (run.form["path"] or asked.request.told or asked.request.by_methods)

    def keep(self, run: Run[EvaluationChoice], found: Plain) -> Plain:
        """What was measured before stays until there is something measured in its place."""
        if "found" in found:
            keep_items(run.session.person, run.asked.request.data)
            return super().keep(run, found)
        return {"asked": self.settings(run.session, run.form), **found}

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        if "found" not in kept:
            return self._show_estimate(kept)
        found = kept["found"]
        best = found["best"]
        cells = [SweepCell.of(cell) for cell in found["cells"]]
        there = [sorted({getattr(cell, name) for cell in cells}) for name in ("layer", "multiplier")]
        chosen = [best["layer"], best["multiplier"]] if best else [values[len(values) // 2] for values in there]
        headers, rows = cells_in_words(found)
        return {
            self.results: gr.Column(visible=True),
            self.details: gr.Accordion(visible=True),
            self.hint: gr.Markdown(visible=False),
            self.verdict: verdict_in_words(found, kept.get("notes") or form.get("notes") or []),
            self.map: map_of(found, form.get("map") or "Effect"),
            self.at_layer: gr.Dropdown(there[0], value=chosen[0]),
            self.at_multiplier: gr.Dropdown([(f"{m:g}", m) for m in there[1]], value=chosen[1]),
            self.table: gr.Dataframe(rows, headers=headers),
            self.items: gr.Column(visible=False),  # until they are asked for
            **({self.page.vectors: time.monotonic()} if "made" in kept else {}),
        }

    def _show_estimate(self, kept: Plain) -> Updates:
        """What is there before anything is measured."""
        estimated = EstimateMap.kept_in(kept)
        assert estimated, "it is what was kept"
        brief = f"**Estimated, not measured yet.** {plain(estimated.headline)}."
        said = folded(brief, plain(str(estimated)), "In numbers")
        return {
            self.results: gr.Column(visible=True),
            self.hint: gr.Markdown(visible=False),
            self.verdict: "\n\n".join([*map(plain, kept["notes"]), said]),
            self.map: estimate_figure(estimated),
            self.items: gr.Column(visible=False),
        }

    def files(self, session: Session, kept: Plain) -> Updates:
        if "found" not in kept:
            return {}
        return report_downloads(self.downloads, session, report_of(kept["found"]))

    def ended(self, run: Run[EvaluationChoice], stopped: bool) -> str:
        if not run.found or "found" not in run.found:
            return "Stopped before anything was measured."
        found = run.found["found"]
        there = len(found["cells"])
        wanted = len(found["settings"]["layers"]) * len(run.asked.request.multipliers)
        cells = f"{there} of {wanted} cells"
        return f"Stopped with {cells}. Measure again to go on from there." if stopped else f"Measured {cells}."

    @guarded
    def pick(self, request: gr.Request, event: gr.SelectData) -> list:
        if not isinstance(event.value, list) or len(event.value) not in (2, 3):
            raise InputError("Click a cell of the map.")
        return self._to_steer(request, *event.value)

    @guarded
    def choose(self, request: gr.Request, layer: int, multiplier: float) -> list:
        return self._to_steer(request, layer, multiplier)

    @guarded
    def one_by_one(self, request: gr.Request, layer: int, multiplier: float) -> Updates:
        """The items of a cell, one by one."""
        kept = self.kept(self.page.session(request))
        by_item = ByItem.kept_in(kept["found"]) if kept else None
        figure = item_dots(by_item, layer, multiplier, kept["found"]["measure"]) if kept and by_item else None
        if not (by_item and figure):
            raise InputError("The items of this cell were not kept one by one: measure fewer cells, or measure again.")
        return {
            self.items: gr.Column(visible=True),
            self.dots: figure,
            self.item_table: items_in_words(by_item, layer, multiplier),
        }

    def _to_steer(self, request: gr.Request, layer: Any, multiplier: Any, method: Any = None) -> list:
        """Updates of the Steer tab's vector, layer and multiplier; with the vector that a method made, where it is said
        which.
        """
        session = self.page.session(request)
        kept = self.kept(session) or {}
        asked = kept.get("asked") or {}
        name = kept.get("made", {}).get(method) if method else asked.get("vector")
        if name not in session.vectors and name not in presets():
            raise InputError("The vector that was measured is not in your list any more; make or upload it again.")
        layer = self.studio.model.check_layer(whole(layer, "The layer"))
        if (positions := Positions.parse(asked["positions"] or str(AFTER_PROMPT))) != AFTER_PROMPT:
            gr.Info(f"It was measured with the steered positions {positions}: choose them in Steer's settings too.")
        if (done := asked.get("operation") or OPERATION.default) != OPERATION.default:
            gr.Info(f"It was measured with the operation {visible(done)}: choose it in Steer's settings too.")
        if asked.get("together"):
            gr.Info(f"It was measured at the layers {visible(asked['layers'])} at once: name them in Steer's settings.")
        return [name, layer, multiplier_at(number(multiplier, "The multiplier"))]

    def told(self, session: Session, vector: str, path: str | None, *values: Any) -> str:
        """What is said of the items that are chosen: what they are, or why there are none."""
        held = dict(zip(("vector", "path", "preset", "questions", "columns"), (vector, path, *values), strict=True))
        try:
            items = _items(session, {**held, "limit": 0})
        except InputError as error:  # it takes the place of what was said of the items before
            return f"**That cannot be measured on.** {plain(str(error))}"
        note = _note(session, held, items)
        return f"{_kind(items, self.studio)}\n\n{f'**Note.** {note}' if note else ''}"

    def _tell_kind(self, form: EvaluationForm, kind: gr.Markdown) -> None:
        """Say what the items are, whenever others are chosen; they follow the vector."""
        source = [form.vector, form.path, form.preset, form.questions, form.columns]

        def wanted(session: Session, name: str) -> Updates:
            own = bool(held_out_of(session.person, session.vectors[name]))
            preset: Updates = {form.preset: OWN} if own else {}
            told = self.told(session, name, None, OWN if own else FIRST, False, "")
            return {form.vector: gr.Dropdown(vector_choices(session), value=name), kind: told, **preset}

        @guarded
        def look(request: gr.Request, *values: Any) -> str:
            return self.told(self.page.session(request), *values)

        @guarded
        def follow_vector(request: gr.Request, *values: Any) -> Updates:
            """A preset brings its items, a vector of one's own those that were held out when it was made."""
            session, (name, path, preset, *others) = self.page.session(request), values
            own = session.vectors.get(name)
            if not path and name in presets():
                preset = name
            elif not path and own and held_out_of(session.person, own):
                preset = OWN
            return {form.preset: preset, kind: self.told(session, name, path, preset, *others)}

        gr.on([form.preset.input, form.questions.input, form.columns.submit], look, source, kind, **QUIET)
        form.path.change(look, source, kind, **LATEST)
        form.vector.input(follow_vector, source, [form.preset, kind], **LATEST)
        self.page.take_up("measure", wanted, [form.vector, form.preset, kind])


class LinkedEvaluation(Linked):
    """A link to what is measured. kind: says what the items are."""

    def __init__(self, panel: EvaluationPanel, button: gr.Button, kind: gr.Markdown):
        self.panel, self.kind = panel, kind
        super().__init__(panel.page, EVALUATION, button, panel.form, EvaluationRequest.options())

    def also(self, session: Session, form: Mapping[str, Any]) -> Updates:
        asked = (form[name] for name in ("vector", "path", "preset", "questions", "columns"))
        return {self.kind: self.panel.told(session, *asked)}


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """What is chosen. Items that only the page has are a file that whoever runs the code brings."""
    notes, name = [], form["vector"]
    own = session.vectors.get(name)
    data = Named(_named(form["preset"], form["questions"]))
    if form["path"]:
        data = Named(Path(form["path"]).name, is_file=True)
    elif form["preset"] == OWN:
        preset = preset_behind(own.provenance.dataset_sha256) if own else presets().get(name)
        data = Named(_named(preset.name, form["questions"])) if preset else Named("held_out.json", is_file=True)
        notes = [] if preset else ["The held-out pairs stay on the page: bring others as held_out.json."]
    if own and not pairs_behind(own.provenance):
        notes.append("For a verdict the vector's own pairs are needed too: --made-from.")
    limit = whole(form["limit"], "The number of items")
    return evaluation_code(here, source_of(session, name), data, limit, form["columns"] or "", form, notes)


def _in_one_line(session: Session, values: Sequence[Any]) -> str:
    vector, preset, layers, multipliers = (visible(str(value or "your items")) for value in values)
    said = f"{vector} on {preset} · layers {layers} · × {multipliers}"
    return html.escape(said, quote=False)


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    return Tab([EvaluationPanel(page).vector])


def items_of(path: str | None, preset: str, columns: str = "", limit: Any = 0) -> Dataset:
    """Test items of an uploaded file, or a preset's held-out ones ("joy", "joy:ab"). Raises InputError for others."""
    if not path and (preset or "").partition(":")[0] not in presets():
        raise InputError(f"Give a file of test items, or one of the presets: {', '.join(presets())}.")
    named = Columns.parse(columns) if (columns or "").strip() else None
    data = read_pairs(Path(path), columns=named) if path else find_test_pairs(preset)
    data = data.first(whole(limit, "The number of items"))
    PAIRS.check(len(data.pairs))
    return data


def _items(session: Session, form: Mapping[str, Any]) -> Dataset:
    """What is measured on. Raises InputError for what cannot be."""
    if form["path"] or form["preset"] != OWN:
        return items_of(form["path"], _named(form["preset"], form["questions"]), form["columns"], form["limit"])
    own = session.vectors.get(form["vector"])
    items = held_out_of(session.person, own) if own else find_test_pairs(form["vector"])
    if not items:
        raise InputError(
            f"Nothing was held out when {form['vector']} was made: choose a preset's items, or bring a file."
        )
    if form["questions"] and not items.is_lettered:
        items = items.as_questions()
    return items.first(whole(form["limit"], "The number of items"))


def _note(session: Session, form: Mapping[str, Any], items: Dataset) -> str:
    """What is to be said of items beside this vector, as Markdown."""
    of_preset = "" if form["path"] or form["preset"] == OWN else form["preset"] or ""
    return plain(unlike(session.person, form["vector"], of_preset, items))


def _named(preset: str | None, as_questions: bool) -> str:
    return f"{preset}:ab" if as_questions else preset or ""


def _kept(session: Session, methods: Mapping[str, OfMethod]) -> dict[str, str]:
    """Keep the vectors that other methods made among the person's, as far as there is room. Gives their names."""
    names = {}
    for method, one in methods.items():
        there = session.vectors.get(one.vector.name)
        if there and there.sha256 == one.vector.sha256:
            names[method] = there.name
            continue
        with suppress(InputError):
            names[method] = session.keep(one.vector)
    return names


def _numbers(known: dict[str, Any]) -> KeptNumbers:
    """What the person has measured before; nothing where that cannot be read."""
    try:
        return unpack(known)
    except InputError:
        return KeptNumbers()


def _kind(data: Dataset, studio: Studio) -> str:
    """What the items were taken for, and whether they suit the model."""
    told = f"{plain(data.name)}: {plain(data.kind)}."
    found = studio.capability
    if data.is_lettered and isinstance(found, Capability) and not found.answers_questions:
        told += " The loaded model does not answer A/B questions, so free-text items suit it better."
    return told


def map_of(found: dict[str, Any], name: str) -> Any:
    """The figure that is chosen by one of the names of `MAPS`, or by `ESTIMATED`."""
    best, shown = found["best"], MAPS.get(name, EFFECT)
    cells, unsteered = [SweepCell.of(cell) for cell in found["cells"]], SweepCell.of(found["unsteered"])
    if name == ESTIMATED:
        estimated = EstimateMap.kept_in(found)
        return estimate_figure(estimated, cells) if estimated else no_figure("Nothing was estimated: measure again.")
    if shown == FRONT:
        return effect_by_cost(cells, unsteered, methods_in(found))
    return sweep_map(cells, unsteered, shown, best and (best["layer"], best["multiplier"]), expected_cells(found))


def verdict_in_words(found: dict[str, Any], notes: Sequence[str]) -> str:
    """The verdict in a few words, and what it rests on, folded; as Markdown."""
    verdict, best = verdict_in(found), found["best"]
    said, *lines = map(plain, found["verdict"]["text"].splitlines() or [""])
    lines += [plain(one) for one in (unlike_estimate(found), before_steering(found)) if one]
    if verdict:
        lines.insert(0, said)
        said = f"**{verdict.headline}**{plain(verdict.in_short.removeprefix(verdict.headline))}"
    if best and verdict and verdict.grade == CALLED_EFFECT:
        said += f" Chosen on one half of the items: layer {best['layer']}, × {best['multiplier']:g}."
    said += f"\n\n{plain(found['vector'])}, tested on {found['items']} items of {plain(found['data'])}."
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
    more = [*lines, f"{about}."]
    if found["skipped"]:
        more.append(f"Skipped, for one: {plain(found['skipped'][0][:300])}")
    return "\n\n".join([folded(said, "\n\n".join(more), "In numbers"), *_beside_prompts(found), *notes])


def _beside_prompts(found: dict[str, Any]) -> list[str]:
    """What system prompts do, folded, as Markdown; nothing where that was not asked."""
    told = beside_prompts_in(found)
    if not (told and told.vector):
        return [plain(str(told))] if told else prompts_not_asked(found)
    table = markdown_table(TOLD_HEADS, told_in_words(told))
    return [folded("", f"{table}\n\n{CONTEXT}", "Beside system prompts")]

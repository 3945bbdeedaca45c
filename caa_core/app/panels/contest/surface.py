"""The surface of the Compete tab: both voices over a grid of multipliers or layers; a click steers with a cell."""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.panels.common import (
    MULTIPLIERS,
    busy,
    download_buttons,
    events,
    guarded,
    number,
    plain,
    report_downloads,
    shared_bar,
    stoppable,
    whole,
)
from caa_core.app.panels.contest.contest import FORMATS, ContestPanel, Prepare, bout_of, keep_known, known_of
from caa_core.app.panels.plots import ON_CLICK, figure
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.contest.runs import run_surface
from caa_core.contest.surface import MULTIPLIERS as GRID
from caa_core.contest.surface import Grid, LayerGrid, surface_of
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.contest import write_report
from caa_core.reports.surface import DOMINANCE, INTERACTION, layer_map, surface_map

PANEL = "compete-surface"
STRENGTHS, LAYERS = "Multipliers", "Layers"
MAPS = {"Dominance D": DOMINANCE, "Interaction I": INTERACTION}
ABOUT = (
    "How far the answers lean towards A (blue) or B (orange) at every two multipliers, with the line on which the "
    "voices balance; or at every two layers. Click a cell to steer with it. It takes the answers chosen above."
)
# So many layers are tried of each voice, spread over the model.
TRIED = 5
TO_COLUMNS = "() => document.querySelector('#compete-kind').scrollIntoView({ behavior: 'smooth' })"


class Surfaces:
    """Draws the section. Call `draw` where it belongs in the layout, then `wire`."""

    def __init__(self, studio: Studio, *kinds: str):
        """kinds: of contest, that of one layer and that of two."""
        self.studio = studio
        self.kinds = kinds

    def draw(self) -> None:
        count = self.studio.model.num_layers
        spread = ",".join(map(str, sorted({count * (i + 1) // (TRIED + 1) for i in range(TRIED)})))
        self.start = {STRENGTHS: ",".join(f"{m:g}" for m in GRID), LAYERS: spread}
        with gr.Accordion("Surface: when do the voices balance?", open=False, elem_id=PANEL):
            gr.Markdown(ABOUT)
            with gr.Row(equal_height=True):
                self.over = gr.Radio(
                    [STRENGTHS, LAYERS], value=STRENGTHS, label="Over", elem_id=f"{PANEL}-over", min_width=160
                )
                self.a, self.b = (
                    gr.Textbox(
                        self.start[STRENGTHS],
                        label=f"{STRENGTHS} of {letter}",
                        elem_id=f"{PANEL}-of-{letter.lower()}",
                        min_width=160,
                    )
                    for letter in "AB"
                )
                with gr.Column(min_width=120):
                    self.go = gr.Button("Draw", variant="primary", elem_id=f"{PANEL}-draw", size="md")
                    self.halt = gr.Button("Stop", variant="stop", elem_id=f"{PANEL}-stop", size="md")
            self.status = gr.Markdown(elem_id=f"{PANEL}-status")
            with gr.Column(visible=False) as self.results:
                self.said = gr.Markdown(elem_id=f"{PANEL}-said")
                self.shown = gr.Radio(
                    list(MAPS), value="Dominance D", show_label=False, visible=False, elem_id=f"{PANEL}-shown"
                )
                self.map = figure("Δ over both voices", f"{PANEL}-map")
                self.clicked = gr.HTML("", js_on_load=ON_CLICK.format(elem_id=f"{PANEL}-map"), elem_id=f"{PANEL}-click")
                with gr.Row(equal_height=True):
                    self.at_a, self.at_b = (
                        gr.Dropdown([], label=f"Of {letter}", elem_id=f"{PANEL}-at-{letter.lower()}", min_width=100)
                        for letter in "AB"
                    )
                    self.steer = gr.Button("Steer with this cell", size="md", elem_id=f"{PANEL}-steer", min_width=140)
                with gr.Row():
                    names = {ending: name.replace("Items", "Cells") for ending, name in FORMATS.items()}
                    self.downloads = download_buttons(PANEL, names)

    def wire(
        self,
        entered: Dependency,
        prepare: Prepare,
        values: Sequence[gr.components.Component],
        verdict: ContestPanel,
        system: gr.Textbox,
        positions: gr.Dropdown,
        sliders: tuple[gr.Radio, gr.Slider, gr.Slider, gr.Slider, gr.Slider],
    ) -> None:
        """Let the buttons work. `prepare` is called as prepare(model, session, *values); the answers are the verdict's.

        sliders: the kind of contest, the layers of A and B, their multipliers: what a cell is put into.
        """

        @guarded
        def draw(request: gr.Request, over: str, of_a: str, of_b: str, map_of: str, *asked: Any) -> Iterator[dict]:
            session = self.studio.session(request.session_hash)
            bout, known, rest = bout_of(*asked[:2], 0, *asked[2:4]), known_of(session.person), asked[4:]
            typed = of_a or "", of_b or ""
            grid = Grid.parse(*typed) if over == STRENGTHS else Grid.parse("", "", *typed)

            def work(model: SteerableModel) -> Generator[Progress, None, None]:
                found = yield from run_surface(model, bout, *(yield from prepare(model, session, *rest)), grid, known)
                keep_known(session.person, known)
                session.person.remember(PANEL, found)

            yield {self.status: "Waiting for the model ...", **busy(self.go)}
            job = self.studio.run(work)
            for progress in events(session, PANEL, job):
                yield {self.status: shared_bar(self.studio, progress)}
            if job.stopped:
                yield {self.status: "Stopped; what was there before is still shown."}
                return
            yield {self.status: "", **self._shown(session.person, session.person.results[PANEL], map_of)}

        @guarded
        def restore(request: gr.Request, map_of: str) -> dict:
            person = self.studio.session(request.session_hash).person
            kept = person.results.get(PANEL)
            return self._shown(person, kept, map_of) if kept else {self.status: gr.skip()}

        @guarded
        def again(request: gr.Request, map_of: str) -> Any:
            kept = self.studio.session(request.session_hash).person.results.get(PANEL)
            return _figure(_found(kept), map_of) if kept else gr.skip()

        @guarded
        def pick(request: gr.Request, event: gr.SelectData) -> list:
            if not isinstance(event.value, list) or len(event.value) != 2:
                raise InputError("Click a cell of the map.")
            return self._to_sliders(request, *event.value)

        @guarded
        def choose(request: gr.Request, of_a: Any, of_b: Any) -> list:
            return self._to_sliders(request, of_a, of_b)

        def swap(over: str) -> list:
            return [gr.Textbox(self.start[over], label=f"{over} of {letter}") for letter in "AB"]

        silent = {"show_progress": "hidden", "api_visibility": "private"}
        results = [self.status, self.results, self.said, self.shown, self.map, self.at_a, self.at_b]
        results += self.downloads.values()
        asked = [self.over, self.a, self.b, self.shown, verdict.contest, verdict.file, system, positions, *values]
        drawing = self.go.click(draw, asked, [*results, self.go], **silent)
        stoppable(self.studio, PANEL, drawing, self.go, self.halt, self.status)
        self.over.input(swap, self.over, [self.a, self.b], **silent)
        self.shown.input(again, self.shown, self.map, **silent)
        entered.then(restore, self.shown, results, **silent)
        for picked in (
            self.clicked.select(pick, None, list(sliders), **silent),
            self.steer.click(choose, [self.at_a, self.at_b], list(sliders), **silent),
        ):
            picked.success(None, js=TO_COLUMNS)

    def _shown(self, person: Person, found: dict[str, Any], map_of: str) -> dict:
        result = _found(found)
        crossed = isinstance(result, LayerGrid)
        name = f"{result.a} against {result.b}, surface"
        axes = [
            sorted({cell[axis] for cell in found["cells"]}) for axis in (("layer_a", "layer_b") if crossed else "ab")
        ]
        words = f"#### {plain(result.verdict)}\n\n{result.items} items of {plain(found['provenance']['data'])}, "
        choices = [
            gr.Dropdown(
                [(f"{v:g}", v) for v in axis], value=axis[-1], label=f"{'Layer' if crossed else 'Multiplier'} of {x}"
            )
            for axis, x in zip(axes, "AB", strict=True)
        ]
        return {
            self.results: gr.Column(visible=True),
            self.said: f"{words}{result.prompts} prompts.",
            self.shown: gr.Radio(visible=crossed),
            self.map: _figure(result, map_of),
            self.at_a: choices[0],
            self.at_b: choices[1],
            **report_downloads(self.downloads, person, name, lambda path: write_report(found, path)),
        }

    def _to_sliders(self, request: gr.Request, of_a: Any, of_b: Any) -> list:
        """Updates of the kind of contest, the layers and the multipliers."""
        kept = self.studio.session(request.session_hash).person.results.get(PANEL)
        if not kept:
            raise InputError("There is no map yet; draw one first.")
        result = _found(kept)
        if isinstance(result, LayerGrid):
            layers = [self.studio.model.check_layer(whole(layer, "The layer")) for layer in (of_a, of_b)]
            return [self.kinds[layers[0] != layers[1]], *layers, gr.skip(), gr.skip()]
        given = zip((of_a, of_b), (result.layer_a, result.layer_b), strict=True)
        return [*[gr.skip()] * 3, *(gr.skip() if layer is None else _slider(value) for value, layer in given)]


def _found(kept: dict[str, Any]) -> Any:
    return surface_of({name: value for name, value in kept.items() if name not in ("settings", "provenance")})


def _figure(found: Any, map_of: str) -> Any:
    return layer_map(found, MAPS.get(map_of, DOMINANCE)) if isinstance(found, LayerGrid) else surface_map(found)


def _slider(value: Any) -> gr.Slider:
    """A multiplier's slider at a value, which may lie outside its range or between its steps."""
    value = number(value, "The multiplier")
    ends = {"minimum": min(MULTIPLIERS["minimum"], value), "maximum": max(MULTIPLIERS["maximum"], value)}
    step = 0.1 if abs(value * 10 - round(value * 10)) < 1e-9 else 0.01
    return gr.Slider(value=value, step=step, **ends)

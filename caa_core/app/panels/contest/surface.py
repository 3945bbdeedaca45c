"""The surface of the Compete tab: both voices over a grid of multipliers or layers; a click steers with a cell."""

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from caa_core.app.panels.common import (
    QUIET,
    Updates,
    download_buttons,
    guarded,
    plain,
    report_downloads,
)
from caa_core.app.panels.contest.chosen import DIFFERENT, SAME, Chosen
from caa_core.app.panels.contest.contest import CACHE, FORMATS, ContestPanel, request_of
from caa_core.app.panels.contest.form import OfVoices, VoicesForm
from caa_core.app.panels.controls import begin_and_stop, multiplier_at
from caa_core.app.panels.experiment import Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import clicks_in, figure
from caa_core.app.sessions import Session
from caa_core.contest.requests import STEPS, ContestRequest, SurfaceRequest
from caa_core.contest.runs import run_surface
from caa_core.contest.surface import LayerGrid, surface_of
from caa_core.errors import InputError
from caa_core.metrics.grid import number, whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.surface import DOMINANCE, INTERACTION, layer_map, report_of, surface_map

PANEL = "compete-surface"
STRENGTHS, LAYERS = "Multipliers", "Layers"
MAPS = {"Dominance D": DOMINANCE, "Interaction I": INTERACTION}
ABOUT = folded(
    "How far the answers lean towards A (blue) or B (orange) at every two multipliers, or at every two layers.",
    "A line shows where the voices balance. Click a cell to steer with it. It takes the answers chosen above.",
)
# So many layers are tried of each voice, spread over the model.
TRIED = 5
LAYER_AXES = ("layer_a", "layer_b")
TO_COLUMNS = "() => document.querySelector('#compete-a-multiplier').scrollIntoView({ behavior: 'smooth' })"


@dataclass(frozen=True)
class SurfaceChoice:
    """Two voices, on what they are measured, and over which grid."""

    voices: Chosen
    contest: ContestRequest
    grid: SurfaceRequest


class SurfacePanel(OfVoices[SurfaceChoice]):
    """The section; the answers, what the model is told and the steered positions are the contest's."""

    name = PANEL
    title = "Surface: when do the voices balance?"
    cache = CACHE
    aside = ("map",)

    def __init__(self, page: Page, voices: VoicesForm, contest: ContestPanel):
        self.voices = voices
        with gr.Accordion(self.title, open=False, elem_id=PANEL) as self.section:
            gr.Markdown(ABOUT)
            with gr.Row(elem_classes="ask"):
                over, axes = _axes(page.studio.model.num_layers)
                start, stop = begin_and_stop("Draw", f"{PANEL}-draw", f"{PANEL}-stop", is_main=False)
            status = gr.Markdown(elem_id=f"{PANEL}-status")
            with gr.Column(visible=False) as self.results:
                self.said = gr.Markdown(elem_id=f"{PANEL}-said")
                self.map_of = gr.Radio(
                    list(MAPS), value="Dominance D", show_label=False, visible=False, elem_id=f"{PANEL}-shown"
                )
                self.map = figure("Δ over both voices", f"{PANEL}-map", wide=True)
                clicked = clicks_in(f"{PANEL}-map", f"{PANEL}-click")
                with gr.Row(elem_classes="ask"):
                    self.at = [
                        gr.Dropdown([], label=f"Of {letter}", elem_id=f"{PANEL}-at-{letter.lower()}", min_width=100)
                        for letter in "AB"
                    ]
                    steer = gr.Button("Steer with this cell", size="md", elem_id=f"{PANEL}-steer", min_width=140)
                with gr.Row():
                    names = {ending: name.replace("Items", "Cells") for ending, name in FORMATS.items()}
                    self.downloads = download_buttons(PANEL, names)
        form = {
            "over": over,
            "of_a": axes[0],
            "of_b": axes[1],
            "map": self.map_of,
            **contest.measured_on,
            **voices.parts,
        }
        shown = [self.results, self.said, self.map_of, self.map, *self.at, *self.downloads.values(), self.section]
        super().__init__(page, form, [start], stop, status, shown)
        self.shown_by(self.map_of, [self.map], lambda _, kept, map_of: {self.map: _figure(_found(kept), map_of)})
        a, b = voices.a, voices.b
        sliders = [voices.kind, a.layer, b.layer, a.multiplier, b.multiplier]
        for picked in (
            clicked.select(self.pick, None, sliders, **QUIET),
            steer.click(self.choose, self.at, sliders, **QUIET),
        ):
            picked.success(None, js=TO_COLUMNS)

    def unused(self, form: Mapping[str, Any]) -> Collection[str]:
        """What is on the axes is not set besides."""
        axes = "multiplier" if form.get("over") == STRENGTHS else "layer"
        return {*super().unused(form), f"{axes}_a", f"{axes}_b"}

    def ask(self, session: Session, form: Mapping[str, Any]) -> SurfaceChoice:
        what = "multipliers" if form["over"] == STRENGTHS else "layers"
        grid = SurfaceRequest.parse(**{f"{what}_a": form["of_a"], f"{what}_b": form["of_b"]})
        return SurfaceChoice(Chosen.of(form), request_of(form), grid)

    def work(
        self, model: SteerableModel, session: Session, asked: SurfaceChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        a, b = yield from self.voices.voicing.both(model, session, asked.voices)
        return (yield from run_surface(model, asked.contest, a, b, asked.grid, known))

    def for_everybody(self, run: Run[SurfaceChoice]) -> bool:
        return self.of_presets(run)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        result = _found(kept)
        crossed = isinstance(result, LayerGrid)
        words = f"#### {plain(result.verdict)}\n\n{result.items} items of {plain(kept['provenance']['data'])}, "
        over = "Layer" if crossed else "Multiplier"
        axes = [sorted({cell[axis] for cell in kept["cells"]}) for axis in (LAYER_AXES if crossed else "ab")]
        return {
            self.results: gr.Column(visible=True),
            self.said: f"{words}{result.prompts} prompts.",
            **self.headed(result.verdict),
            self.map_of: gr.Radio(visible=crossed),
            self.map: _figure(result, form.get("map", "")),
            **{
                at: gr.Dropdown([(f"{v:g}", v) for v in axis], value=axis[-1], label=f"{over} of {letter}")
                for at, axis, letter in zip(self.at, axes, "AB", strict=True)
            },
        }

    def files(self, session: Session, kept: Plain) -> Updates:
        return report_downloads(self.downloads, session, report_of(kept))

    @guarded
    def pick(self, request: gr.Request, event: gr.SelectData) -> list:
        if not isinstance(event.value, list) or len(event.value) != 2:
            raise InputError("Click a cell of the map.")
        return self._to_sliders(request, *event.value)

    @guarded
    def choose(self, request: gr.Request, of_a: Any, of_b: Any) -> list:
        return self._to_sliders(request, of_a, of_b)

    def _to_sliders(self, request: gr.Request, of_a: Any, of_b: Any) -> list:
        """Updates of the kind of contest, the layers and the multipliers."""
        kept = self.page.session(request).person.results.get(PANEL)
        if not kept:
            raise InputError("There is no map yet; draw one first.")
        result = _found(kept)
        if isinstance(result, LayerGrid):
            layers = [self.studio.model.check_layer(whole(layer, "The layer")) for layer in (of_a, of_b)]
            return [SAME if layers[0] == layers[1] else DIFFERENT, *layers, gr.skip(), gr.skip()]
        given = zip(
            [number(value, "The multiplier") for value in (of_a, of_b)], (result.layer_a, result.layer_b), strict=True
        )
        return [
            *[gr.skip()] * 3,
            *(gr.skip() if layer is None else multiplier_at(value) for value, layer in given),
        ]


def _axes(layers: int) -> tuple[gr.Radio, list[gr.Textbox]]:
    """What the surface is over, and the values of A and of B."""
    spread = ",".join(map(str, sorted({layers * (i + 1) // (TRIED + 1) for i in range(TRIED)})))
    start = {STRENGTHS: STEPS.default, LAYERS: spread}
    over = gr.Radio([STRENGTHS, LAYERS], value=STRENGTHS, label="Over", elem_id=f"{PANEL}-over", min_width=160)
    axes = [
        gr.Textbox(
            start[STRENGTHS], label=f"{STRENGTHS} of {letter}", elem_id=f"{PANEL}-of-{letter.lower()}", min_width=200
        )
        for letter in "AB"
    ]

    def swap(over: str) -> list:
        return [gr.Textbox(start[over], label=f"{over} of {letter}") for letter in "AB"]

    over.input(swap, over, axes, **QUIET)
    return over, axes


def _found(kept: dict[str, Any]) -> Any:
    return surface_of({name: value for name, value in kept.items() if name not in ("settings", "provenance", "asked")})


def _figure(found: Any, map_of: str) -> Any:
    return layer_map(found, MAPS.get(map_of, DOMINANCE)) if isinstance(found, LayerGrid) else surface_map(found)

"""Generate vectors: contrast pairs in, a steering vector for each layer out; and which method suits them."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.as_code import AsCode, Here, Named, extraction
from caa_core.app.forms import control
from caa_core.app.made_from import keep_pairs
from caa_core.app.panels.common import Updates, json_download, plain
from caa_core.app.panels.controls import as_code, at_most
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.generate.estimated import Estimating
from caa_core.app.panels.generate.next_steps import NextSteps
from caa_core.app.panels.generate.pairs import FIRST, Pairs
from caa_core.app.panels.generate.vectors import FIRST_FORMAT, Combining, VectorMaking, Vectors
from caa_core.app.panels.made_with import MadeWith
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.pairs import Dataset
from caa_core.data.presets import find_pairs, preset_behind
from caa_core.data.text import download_name
from caa_core.limits import PAIRS
from caa_core.metrics.cross_fitting import ENOUGH_PROMPTS
from caa_core.metrics.grid import whole
from caa_core.metrics.vector_requests import ExtractionRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.vectors import METHOD_LABELS, comparison_in_words, cosines_by_layer, separations_by_layer
from caa_core.vectors.formats import FORMATS
from caa_core.vectors.known_directions import make
from caa_core.vectors.method_comparison import Comparison, compare
from caa_core.vectors.methods import MEAN_DIFFERENCE, METHODS
from caa_core.vectors.splits import kept_apart

PANEL = "generate"
COMPARISON = "generate-compare"
HELD_OUT = "A quarter of your own pairs, at least 8 prompts, which Measure then offers. Presets have other items."


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    pairs, vectors = Pairs(page), Vectors(page)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            pairs.choice()
            name = gr.Textbox(f"my {FIRST}", label="Name of the vector", max_length=120, elem_id="generate-name")
            with gr.Row():
                make = gr.Button("Make the vector", variant="primary", size="md", min_width=90, elem_id="generate-make")
                weigh = gr.Button("Compare methods", size="md", min_width=90, elem_id="generate-compare")
                stop = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="generate-stop")
            status = gr.Markdown(elem_id="generate-status")
            steps = NextSteps(page)
            with gr.Accordion("More settings", open=False, elem_id="generate-settings"):
                settings = Settings(pairs, name)
            pairs.sources()
            asked = {"name": settings.name, "method": settings.method, "hold": settings.hold, **settings.parts}
            as_code(page.studio, PANEL, asked, written_as_code)
        with gr.Column(scale=3, min_width=300):
            pairs.view()
    MethodComparison(page, settings, [weigh, make], stop, status)
    gr.Markdown("### Your vectors")
    vectors.draw()
    pairs.wire(settings.name, status)
    vectors.wire()
    making = Making(page, vectors, steps, asked, [make, weigh], stop, status)
    Estimating(page, vectors.effect, vectors.shown, making.began[0].success)
    Combining(page, vectors, vectors.combined, [vectors.combine], vectors.stop, vectors.done)
    return Tab(vectors.pickers)


class Settings:
    """What there is to set about a vector. `parts`: what the comparison of methods needs too, by name."""

    def __init__(self, pairs: Pairs, name: gr.Textbox):
        self.name = name
        with gr.Row():
            layers = control(ExtractionRequest, "layers", info="All, or 10,12-15", elem_id="generate-layers")
            limit = at_most("pairs", elem_id="generate-limit")
        with gr.Row():
            read = control(ExtractionRequest, "read", info="Or a token's index, such as -2", elem_id="generate-read")
            self.method = gr.Dropdown(
                [(METHOD_LABELS[key], key) for key in METHODS],
                value=MEAN_DIFFERENCE,
                label="Method",
                info="Scaled to the mean difference",
                elem_id="generate-method",
            )
        self.hold = gr.Checkbox(True, label="Keep a part to measure on", info=HELD_OUT, elem_id="generate-hold")
        swap = control(
            ExtractionRequest,
            "letter_swap",
            info="Also ask with A and B swapped, so the vector learns no letter.",
            elem_id="generate-swap",
        )
        self.parts = {"draft": pairs.draft, "layers": layers, "limit": limit, "read": read, "letter_swap": swap}


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """What is chosen. Pairs that are not a preset's are the file that the page gives. Raises InputError where there are
    no pairs.
    """
    draft = form["draft"].draft
    limit = whole(form["limit"], "The number of pairs")
    if preset := _preset(draft.pairs):
        return extraction(here, Named(preset), limit, form)
    data = Named(download_name(draft.name, ".json"), is_file=True)
    notes, held = [f"Download the pairs as {data.name}."], None
    if form["hold"] and not preset_behind(draft.pairs.sha256):
        _, held = kept_apart(draft.pairs.first(limit), ENOUGH_PROMPTS)
    if held:
        notes.append("The page keeps a part of them to measure on; here all are read.")
    return extraction(here, data, limit, form, notes)


def _preset(pairs: Dataset) -> str:
    """The preset whose very pairs these are, as it is typed; nothing where they are no preset's, or were mended."""
    preset = preset_behind(pairs.sha256)
    names = (preset.name, f"{preset.name}:ab") if preset else ()
    return next((name for name in names if find_pairs(name).pairs_sha256 == pairs.pairs_sha256), "")


@dataclass(frozen=True)
class MakingChoice:
    """What a vector is made from and how, and the pairs that are held out."""

    request: ExtractionRequest
    held_out: Dataset | None = None

    @classmethod
    def of(cls, studio: Studio, form: Mapping[str, Any]) -> "MakingChoice":
        """What the settings say; nothing is held out where they don't. Raises InputError for what cannot be."""
        given, held_out = form["draft"].draft.pairs.first(whole(form["limit"], "The number of pairs")), None
        if form.get("hold") and not preset_behind(given.sha256):
            given, held_out = kept_apart(given, ENOUGH_PROMPTS)
        request = ExtractionRequest.parse(given=given, **ExtractionRequest.chosen(form))
        PAIRS.check(len(request.pairs.pairs))
        request.layers_in(studio.model.num_layers)
        return cls(request, held_out)


class Making(VectorMaking[MakingChoice]):
    """Makes the vector of the pairs."""

    name = PANEL

    def __init__(
        self,
        page: Page,
        vectors: Vectors,
        steps: NextSteps,
        form: Mapping[str, Component],
        starters: Sequence[gr.Button],
        stop: gr.Button,
        status: gr.Markdown,
    ):
        self.next_steps = steps
        super().__init__(page, vectors, form, starters, stop, status, steps.parts)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        name = kept["names"][-1]
        path = session.path(name, FORMATS[FIRST_FORMAT])
        return {**super().show(session, kept, form), **self.next_steps.show(name, path)}

    def ask(self, session: Session, form: Mapping[str, Any]) -> MakingChoice:
        return MakingChoice.of(self.studio, form)

    def work(
        self, model: SteerableModel, session: Session, asked: MakingChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        how = asked.request
        layers = how.layers_in(model.num_layers)
        return {"vectors": [(yield from make(model, how.pairs, layers, how.name, how.read, how.method))]}

    def keep(self, run: Run[MakingChoice], found: Plain) -> Plain:
        kept = super().keep(run, found)
        keep_pairs(run.session.person, run.asked.request.pairs, run.asked.held_out)
        return kept

    def ended(self, run: Run[MakingChoice], stopped: bool) -> str:
        if run.found is None:
            progress = run.progress
            done = f"Stopped after {progress.done} of {progress.total} {progress.unit}." if progress else "Stopped."
            return f"{done} No vector was made."
        (vector,), (name,) = run.found["vectors"], run.found["names"]
        orders = ", each in both letter orders" if vector.letter_share else ""
        held = run.asked.held_out
        apart = f" {len(held.pairs)} others were held out, to measure it on." if held else ""
        few = ""
        if run.form["hold"] and not held and not preset_behind(run.asked.request.pairs.sha256):
            few = f" None were held out: that takes {2 * ENOUGH_PROMPTS} prompts."
        made = f"Made **{plain(name)}** from {vector.provenance.num_pairs} pairs{orders}."
        return f"{made}{apart}{few} {run.note}"


class MethodComparison(Experiment[ExtractionRequest]):
    """Which method tells held-out answers apart."""

    name = COMPARISON
    takes_settings = True
    unreadable = "The comparison that was kept cannot be read."

    def __init__(
        self, page: Page, settings: Settings, starters: Sequence[gr.Button], stop: gr.Button, status: gr.Markdown
    ):
        with gr.Accordion("Methods compared", open=True, visible=False, elem_id="generate-compared") as self.compared:
            self.verdict = gr.Markdown(elem_id="generate-verdict")
            with gr.Row():
                with gr.Column(min_width=300):
                    self.separations = figure("How well each method separates held-out pairs", "generate-separations")
                with gr.Column(min_width=300):
                    self.cosines = figure("How far the methods agree", "generate-cosines")
            self.data = gr.DownloadButton("Data (JSON)", size="sm", elem_id="generate-compared-data")
        shown = [self.compared, self.verdict, self.separations, self.cosines, self.data]
        super().__init__(page, settings.parts, starters, stop, status, shown)

    def ask(self, session: Session, form: Mapping[str, Any]) -> ExtractionRequest:
        return MakingChoice.of(self.studio, form).request

    def work(
        self, model: SteerableModel, session: Session, asked: ExtractionRequest, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        return (yield from compare(model, asked.pairs, asked.layers_in(model.num_layers), asked.read)).pack()

    def settings(self, session: Session, form: Mapping[str, Any]) -> MadeWith:
        return {"pairs": form["draft"].described, **super().settings(session, form)}

    def ended(self, run: Run[ExtractionRequest], stopped: bool) -> str:
        if run.found is None:
            return "Stopped. Nothing was compared."
        return f"Compared {len(METHODS)} methods on {run.found['num_pairs']} pairs."

    def show_ready(self, session: Session, before: Plain) -> Updates:
        """Nothing: what was made before is shown by the lesson, and here the vector."""
        return {}

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = Comparison.unpack(kept)
        return {
            self.data: json_download(session, "methods compared", found.summary()),
            self.compared: gr.Accordion(visible=True),
            self.verdict: comparison_in_words(found, plain),
            self.separations: separations_by_layer(found),
            self.cosines: cosines_by_layer(found),
        }

"""Generate vectors: contrast pairs in, a steering vector for each layer out; and which method suits them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from caa_core.app.forms import component
from caa_core.app.panels.common import QUIET, busy, events, freed, guarded, json_download, plain, shared_bar, stopper
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.pairs import FIRST, Draft, Pairs
from caa_core.app.panels.plots import figure
from caa_core.app.panels.vectors import Vectors
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.pairs import Dataset
from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.limits import PAIRS
from caa_core.metrics.grid import parse_layers, whole
from caa_core.metrics.options import LAYERS, LETTER_SWAP, READ
from caa_core.progress import Waiting
from caa_core.reports.vectors import cosines_by_layer, separations_by_layer
from caa_core.steering.activations import ReadPosition
from caa_core.vectors.extraction import extract
from caa_core.vectors.method_comparison import Comparison, Separation, compare
from caa_core.vectors.methods import MEAN_DIFFERENCE, METHODS

PANEL = "generate"
COMPARISON = "generate-compare"
METHOD_LABELS = {
    MEAN_DIFFERENCE: "mean difference",
    "pca": "PCA of the differences",
    "probe": "logistic probe",
    "single": "first pair alone (ActAdd)",
}


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    studio = page.studio
    pairs, vectors = Pairs(studio), Vectors(studio)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            gr.Markdown("### 1. Contrast pairs")
            pairs.choice()
            gr.Markdown("### 2. Settings")
            name = gr.Textbox(f"my {FIRST}", label="Name of the vector", max_length=120, elem_id="generate-name")
            with gr.Row():
                layers = component(LAYERS, info="all, or 10,12-15", elem_id="generate-layers")
                limit = gr.Number(
                    0, label="At most so many pairs", info="0: all of them", precision=0, elem_id="generate-limit"
                )
            with gr.Row():
                read = component(READ, info="or a token's index, such as -2", elem_id="generate-read")
                method = gr.Dropdown(
                    [(METHOD_LABELS[key], key) for key in METHODS],
                    value=MEAN_DIFFERENCE,
                    label="Method",
                    info="as long as the mean difference along them",
                    elem_id="generate-method",
                )
            swap = component(
                LETTER_SWAP,
                info="Multiple-choice pairs also with their options exchanged, so that the letter is not learnt.",
                elem_id="generate-swap",
            )
            with gr.Row():
                make = gr.Button("Make the vector", variant="primary", size="md", min_width=90, elem_id="generate-make")
                weigh = gr.Button("Compare methods", size="md", min_width=90, elem_id="generate-compare")
                stop = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="generate-stop")
            status = gr.Markdown(elem_id="generate-status")
        with gr.Column(scale=3, min_width=300):
            pairs.view()
    with gr.Accordion("Methods compared", open=True, visible=False, elem_id="generate-compared") as compared:
        verdict = gr.Markdown(elem_id="generate-verdict")
        with gr.Row():
            with gr.Column(min_width=300):
                separations = figure("How well each method separates held-out pairs", "generate-separations")
            with gr.Column(min_width=300):
                cosines = figure("How far the methods agree", "generate-cosines")
        data = gr.DownloadButton("Data (JSON)", size="sm", elem_id="generate-compared-data")
    gr.Markdown("### 3. Your vectors")
    vectors.draw()
    pairs.wire(page.entered, name, page.model)
    vectors.wire(page.entered)

    @guarded
    def run(request: gr.Request, draft: Draft, *values: Any) -> Iterator[dict]:
        title, method, count, *rest = values
        chosen, numbers, position = _settings(studio, draft, *rest)
        session = studio.session(request.session_hash)
        job = studio.run(lambda model: extract(model, chosen, numbers, title.strip(), position, method))
        done = note = ""
        yield {status: "Waiting for the model ...", **busy(make, weigh)}
        for progress in events(session, PANEL, job):
            if not isinstance(progress, Waiting):
                done, note = f" after {progress.done} of {progress.total} {progress.unit}", progress.note or note
            yield {status: shared_bar(studio, progress)}
        if job.stopped:
            yield {status: f"Stopped{done}. No vector was made."}
            return
        kept = session.keep(job.result)
        orders = ", each in both letter orders" if job.result.letter_share else ""
        said = f"Made **{plain(kept)}** from {job.result.provenance.num_pairs} pairs{orders}. {note}"
        yield vectors.show(session, kept) | {vectors.changed: count + 1, status: said}

    @guarded
    def weigh_up(request: gr.Request, draft: Draft, *values: Any) -> Iterator[dict]:
        chosen, numbers, position = _settings(studio, draft, *values)
        session = studio.session(request.session_hash)
        job = studio.run(lambda model: compare(model, chosen, numbers, position))
        yield {status: "Waiting for the model ...", **busy(make, weigh)}
        for progress in events(session, COMPARISON, job):
            yield {status: shared_bar(studio, progress)}
        if job.stopped:
            yield {status: "Stopped. Nothing was compared."}
            return
        session.person.remember(COMPARISON, _pack(job.result))
        yield {status: f"Compared {len(METHODS)} methods on {job.result.num_pairs} pairs.", **show(session, job.result)}

    def show(session: Session, found: Comparison) -> dict:
        return {
            data: json_download(session, "methods compared", found.summary()),
            compared: gr.Accordion(visible=True),
            verdict: _verdict(found),
            separations: separations_by_layer(found),
            cosines: cosines_by_layer(found),
        }

    @guarded
    def restore(request: gr.Request) -> dict:
        session = studio.session(request.session_hash)
        kept = session.person.results.get(COMPARISON)
        return show(session, _unpack(kept)) if kept else {compared: gr.skip()}

    settings = [layers, limit, read, swap]
    made = [*vectors.parts, status, vectors.changed]
    making = make.click(run, [pairs.draft, name, method, vectors.changed, *settings], [*made, make, weigh], **QUIET)
    comparison = [compared, verdict, separations, cosines, data]
    weighing = weigh.click(weigh_up, [pairs.draft, *settings], [status, *comparison, make, weigh], **QUIET)
    for event in (making, weighing):
        freed(event, make, weigh)
    page.restore(restore, comparison)
    for job in (PANEL, COMPARISON, vectors.PANEL):
        stop.click(stopper(studio, job), queue=False, **QUIET)
    return Tab(vectors.pickers, changed=[vectors.changed])


def _settings(
    studio: Studio, draft: Draft, layers: str, limit: int | None, read: str | None, swap: bool
) -> tuple[Dataset, list[int], ReadPosition]:
    """Pairs, layers and read position that the tab asks for."""
    chosen = draft.pairs.first(whole(limit, "The number of pairs"))
    chosen = chosen.in_both_letter_orders() if swap else chosen
    PAIRS.check(len(chosen.pairs))
    return chosen, parse_layers(layers, studio.model.num_layers), READ.value(read)


def _pack(found: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    return {**asdict(found), "cosines": [[*pair, line] for pair, line in found.cosines.items()]}


def _unpack(kept: Any) -> Comparison:
    """The comparison again. Raises InputError for what was none."""
    try:
        separations = {key: [Separation(**one) for one in line] for key, line in kept["separations"].items()}
        cosines = {(a, b): line for a, b, line in kept["cosines"]}
        layers = tuple(kept["layers"])
        return Comparison(**{**kept, "layers": layers, "cosines": cosines, "separations": separations})
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError("The comparison that was kept cannot be read.") from error


def _verdict(found: Comparison) -> str:
    """What the comparison says, in words."""
    lines = [
        f"{plain(found.dataset)}, {found.num_pairs} pairs read at '{found.read_position}'; directions made from "
        f"{found.folds - 1} of {found.folds} parts and tried on the one left out. Where each method tells held-out "
        "answers apart best, by the lower end of the 95 % interval:",
        "",
    ]
    for method in found.separations:
        best, layers = found.best(method)
        chance = "" if found.surely(method) else ", **not surely better than chance** (over all layers looked at)"
        lines.append(
            f"- {METHOD_LABELS[method]}: AUC **{best.auc:.2f}** ({best.low:.2f} to {best.high:.2f}) at {spans(layers)}"
            + chance
        )
    return "\n".join(
        [*lines, "", "Telling answers apart is not steering: a layer that separates best may steer little."]
    )

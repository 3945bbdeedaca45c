"""Generate vectors: contrast pairs in, a steering vector for each layer out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.datasets import Dataset, read_pairs
from caa_core.errors import InputError
from caa_core.extraction import extract
from caa_core.figures import norms_by_layer
from caa_core.lint import lint
from caa_core.panels.common import events, guarded, misfits, plain, stopper
from caa_core.presets import presets
from caa_core.service import Session, Studio
from caa_core.tables import read_table
from caa_core.vectors import SteeringVector, load_vector, parse_layers, spans

PANEL = "generate"
FIRST = "joy"
PREVIEW = 200
END = 150
FORMATS = (
    "JSON, JSON Lines, CSV or TSV with `prompt`, `positive`, `negative`; or the CAA paper's JSON with `question`, "
    "`answer_matching_behavior`, `answer_not_matching_behavior`."
)


def build(studio: Studio) -> gr.State:
    """Draw the tab. Returns a state that changes whenever the session's list of vectors does."""
    changed = gr.State(0)
    first = presets()[FIRST].dataset()
    dataset = gr.State(first)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            gr.Markdown("### 1. Contrast pairs")
            preset = gr.Dropdown(list(presets()), value=FIRST, label="A preset", elem_id="generate-preset")
            upload = gr.File(
                label="or a file of your own",
                file_types=[".json", ".jsonl", ".csv", ".tsv", ".txt"],
                elem_id="generate-upload",
                height=120,
            )
            gr.Markdown(f"<small>{FORMATS}</small>")
            gr.Markdown("### 2. Settings")
            name = gr.Textbox(f"my {FIRST}", label="Name of the vector", elem_id="generate-name")
            with gr.Row():
                layers = gr.Textbox("all", label="Layers", info="all, or 10,12-15", elem_id="generate-layers")
                limit = gr.Number(
                    0,
                    label="At most so many pairs",
                    info="0: all of them",
                    precision=0,
                    elem_id="generate-limit",
                )
            swap = gr.Checkbox(
                False,
                label="Use both letter orders",
                info="Multiple-choice pairs also with their options exchanged, so that the letter is not learnt.",
                elem_id="generate-swap",
            )
            with gr.Row():
                make = gr.Button("Make the vector", variant="primary", elem_id="generate-make")
                stop = gr.Button("Stop", variant="stop", elem_id="generate-stop")
            status = gr.Markdown(elem_id="generate-status")
        with gr.Column(scale=3, min_width=300):
            kind = gr.Markdown(_kind(first, presets()[FIRST].pairs_file), elem_id="generate-kind")
            preview = gr.Dataframe(
                _preview(first),
                headers=["pair", "prompt", "positive", "negative"],
                column_widths=["60px", "34%", "33%", "33%"],
                datatype=["number", "str", "str", "str"],
                interactive=False,
                wrap=True,
                max_height=360,
                elem_id="generate-preview",
            )
    gr.Markdown("### 3. Your vectors")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            shown = gr.Dropdown([], label="Vector", elem_id="generate-shown", interactive=True)
            with gr.Row():
                download = gr.DownloadButton("Download", interactive=False, elem_id="generate-download")
                add = gr.UploadButton("Upload a vector", file_types=[".safetensors"], elem_id="generate-add")
            about = gr.Markdown("None yet. Make one above, or upload one.", elem_id="generate-about")
        with gr.Column(scale=3, min_width=300):
            plot = gr.Plot(label="Strength by layer", elem_id="generate-plot")

    @guarded
    def choose(name: str) -> tuple[Any, ...]:
        preset = presets()[name]
        return (*_taken(preset.dataset(), preset.pairs_file), f"my {name}", name, None)

    @guarded
    def read(path: str | None) -> tuple[Any, ...]:
        if not path:
            return (gr.skip(),) * 6
        dataset = read_pairs(Path(path))
        return (*_taken(dataset, Path(path)), dataset.name, None, gr.skip())

    @guarded
    def run(
        request: gr.Request, pairs: Dataset, name: str, layers: str, limit: int | None, swap: bool, count: int
    ) -> Iterator[dict]:
        wanted = parse_layers(layers, studio.model.num_layers)
        chosen = pairs.first(int(limit or 0))
        chosen = chosen.in_both_letter_orders() if swap else chosen
        session = studio.session(request.session_hash)
        job = studio.run(lambda model: extract(model, chosen, wanted, name.strip()))
        done = note = ""
        for progress in events(session, PANEL, job):
            done, note = f" after {progress.done} of {progress.total} {progress.unit}", progress.note
            yield {status: _bar(progress.fraction, str(progress))}
        if job.stopped:
            yield {status: f"Stopped{done}. No vector was made."}
            return
        kept = session.keep(job.result)
        yield {
            status: f"Made **{plain(kept)}** from {job.result.provenance.num_pairs} pairs. {note}",
            changed: count + 1,
        } | show(session, kept)

    @guarded
    def upload_vector(request: gr.Request, path: str, count: int) -> dict:
        vector = load_vector(Path(path))
        if vector.hidden_size != studio.model.hidden_size:
            raise InputError(
                f"The vector '{vector.name[:80]}' has hidden size {vector.hidden_size} and {studio.model.name} has "
                f"{studio.model.hidden_size}: it was made on {vector.provenance.model or 'another model'}."
            )
        for layer in vector.layers:
            studio.model.check_layer(layer)
        session = studio.session(request.session_hash)
        kept = session.keep(vector)
        return {status: f"Loaded **{plain(kept)}**.", changed: count + 1} | show(session, kept)

    def show(session: Session, name: str) -> dict:
        vector = session.vectors[name]
        return {
            shown: gr.Dropdown(list(session.vectors), value=name),
            about: _about(vector, misfits(studio.model, vector)),
            plot: norms_by_layer(vector),
            download: gr.DownloadButton(value=str(session.file(vector)), interactive=True),
        }

    @guarded
    def select(request: gr.Request, name: str | None) -> dict:
        session = studio.session(request.session_hash)
        return show(session, name) if name in session.vectors else {status: gr.skip()}

    silent = {"api_visibility": "private", "show_progress": "hidden"}
    taken = [dataset, kind, preview, name, preset, upload]
    panel = [shown, about, plot, download, status, changed]
    preset.input(choose, preset, taken, **silent)
    # A file that could not be read leaves its place to the next one.
    upload.change(read, upload, taken, **silent).failure(lambda: None, None, upload, **silent)
    make.click(run, [dataset, name, layers, limit, swap, changed], panel, **silent)
    stop.click(stopper(studio, PANEL), queue=False, **silent)
    add.upload(upload_vector, [add, changed], panel, **silent)
    shown.input(select, shown, panel, **silent)
    return changed


def _taken(dataset: Dataset, path: Path) -> tuple[Dataset, str, list[list[Any]]]:
    return dataset, _kind(dataset, path), _preview(dataset)


def _kind(dataset: Dataset, path: Path) -> str:
    """What the file was taken for, and what the linter has to say about it."""
    more = f" The first {PREVIEW} are shown." if len(dataset.pairs) > PREVIEW else ""
    findings = [f"- {plain(str(finding))}" for finding in lint(read_table(path)).findings]
    return "\n".join([f"### {plain(dataset.name)}", f"Taken for {dataset.kind}.{more}", "", *findings])


def _preview(dataset: Dataset) -> list[list[Any]]:
    return [[pair.line, *map(_ends, (pair.prompt, pair.positive, pair.negative))] for pair in dataset.pairs[:PREVIEW]]


def _ends(text: str) -> str:
    """A long text by its two ends: a question's options stand at the end."""
    return text if len(text) <= 2 * END else f"{text[:END]} [...] {text[-END:]}"


def _bar(fraction: float, text: str) -> str:
    return f'<progress max="1" value="{fraction:.3f}"></progress><br>{text}'


def _about(vector: SteeringVector, notes: list[str]) -> str:
    was = vector.provenance
    facts = [
        f"{was.num_pairs} pairs of {was.dataset}" if was.num_pairs else "",
        f"read at: {was.read_position}" if was.read_position else "",
        was.method,
        spans(vector.layers),
        was.model,
    ]
    return (
        f"**{plain(vector.name)}**: "
        + plain(", ".join(fact for fact in facts if fact))
        + "".join(f"\n\n{note}" for note in notes)
    )

"""The CAA paper's figures of what was measured, one click each."""

from collections.abc import Generator, Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.panels.common import events, guarded, json_download, plain, shared_bar, stopper
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person, Session
from caa_core.app.studio import Studio
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import pairs_behind
from caa_core.errors import InputError
from caa_core.measuring.paper.behaviours import Behaviour, Instructions, find_instructions
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.findings import Findings, Replication
from caa_core.measuring.paper.request import PaperRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.paper.report import FIGURES, section_of
from caa_core.reports.writing import Section
from caa_core.vectors.vector import SteeringVector

PANEL, KNOWN = "paper", "paper-known"
# The names under which is kept what was measured, and on what.
MEASURED, ITEMS = "measure", "measure-items"
MOST_KNOWN = 8
ABOUT = (
    "The figures of the CAA paper, for this vector and these items; at one layer where they take one: the layer chosen "
    "above. Choose one to compute it."
)


class PaperFigures:
    """Draws the choice of a figure and its place. Call `draw` where it belongs in the layout, then `wire`."""

    def __init__(self, studio: Studio):
        self.studio = studio

    def draw(self) -> None:
        gr.Markdown("### The paper's figures")
        self.which = gr.Radio(list(FIGURES), value=None, label="Figure", info=ABOUT, elem_id="paper-which")
        with gr.Accordion("Instructions for “Vector against system prompt”", open=False):
            with gr.Row():
                self.positive = gr.Textbox(
                    label="Asks for the behaviour", lines=2, placeholder="as shipped", elem_id="paper-positive"
                )
                self.negative = gr.Textbox(
                    label="Asks for the opposite", lines=2, placeholder="as shipped", elem_id="paper-negative"
                )
            gr.Markdown("Left empty, the instructions that ship with a preset are used.")
        with gr.Row():
            self.status = gr.Markdown(elem_id="paper-status")
            self.halt = gr.Button(
                "Stop", variant="stop", size="sm", min_width=60, scale=0, visible=False, elem_id="paper-stop"
            )
        with gr.Column(visible=False) as self.place:
            self.said = gr.Markdown(elem_id="paper-said")
            with gr.Column(visible=False) as self.drawing:
                self.figure = figure("Figure", "paper-figure")
            self.text = gr.HTML(visible=False, elem_id="paper-text", container=True)
            with gr.Row():
                self.data = gr.DownloadButton("Data (JSON)", size="sm", min_width=120, scale=0, elem_id="paper-data")

    def wire(self, entered: Dependency, layer: gr.Dropdown) -> None:
        """Let it work, at the layer that is chosen there."""

        @guarded
        def run(request: gr.Request, which: str, at: Any, positive: str, negative: str) -> Iterator[dict]:
            session = self.studio.session(request.session_hash)
            if which not in FIGURES:
                raise InputError("Choose one of the figures.")
            asked, items = measured(session.person)
            told = _instructions(asked, positive, negative)
            experiment, _ = FIGURES[which]
            settings = PaperRequest.parse(
                layer=at,
                experiments=(experiment,) if experiment else (),
                **{name: asked[name] for name in ("multipliers", "controls", "positions", "cue")},
            )
            known = dict(session.person.results.get(KNOWN) or {})

            def work(model: SteerableModel) -> Generator[Any, None, Replication]:
                vector = yield from self.studio.vector(model, session, asked["vector"])
                behaviour = as_behaviour(asked["vector"], vector, items, told)
                found = yield from replicate(model, [behaviour], settings, known)
                kept = dict(list(known.items())[-MOST_KNOWN:])
                session.person.remember(KNOWN, kept)
                session.person.remember(PANEL, {"figure": which, "found": found.findings[0].pack()})
                return found

            yield {self.status: "Waiting for the model ...", self.halt: gr.Button(visible=True)}
            job = self.studio.run(work)
            for event in events(session, PANEL, job):
                if isinstance(event, Progress):
                    yield {self.status: shared_bar(self.studio, event)}
            if job.stopped:
                yield {self.status: "Stopped.", self.halt: gr.Button(visible=False)}
                return
            yield {
                self.status: "",
                self.halt: gr.Button(visible=False),
                **self._shown(session, which, job.result.findings[0]),
            }

        @guarded
        def restore(request: gr.Request) -> dict:
            session = self.studio.session(request.session_hash)
            kept = session.person.results.get(PANEL)
            if not kept:
                return {self.status: gr.skip()}
            return {self.which: kept["figure"], **self._shown(session, kept["figure"], Findings.unpack(kept["found"]))}

        silent = {"show_progress": "hidden", "api_visibility": "private"}
        parts = [self.status, self.halt, self.place, self.said, self.drawing, self.figure, self.text, self.data]
        asked = [self.which, layer, self.positive, self.negative]
        computing = self.which.input(run, asked, parts, **silent)
        computing.failure(lambda: ["", gr.Button(visible=False)], None, [self.status, self.halt], **silent)
        self.halt.click(stopper(self.studio, PANEL), queue=False, **silent)
        entered.then(restore, None, [self.which, *parts], **silent)

    def _shown(self, session: Session, which: str, found: Findings) -> dict:
        part = section_of(found, which)
        return {
            self.place: gr.Column(visible=True),
            self.said: in_words(part),
            self.drawing: gr.Column(visible=part.figure is not None),
            self.figure: part.figure,
            self.text: gr.HTML(part.markup, visible=bool(part.markup)),
            self.data: json_download(session, part.title, found.summary()),
        }


def in_words(part: Section) -> str:
    """A section's title and text, as Markdown."""
    lines = [plain(line) for line in part.text.splitlines()]
    paper = [f"<small>{plain(part.counterpart)}</small>"] if part.counterpart else []
    return "\n\n".join([f"#### {plain(part.title)}", *paper, *lines])


def keep_items(person: Person, items: Dataset) -> None:
    """Note what is measured on, for figures that are asked for later."""
    person.remember(ITEMS, asdict(items))


def measured(person: Person) -> tuple[dict[str, Any], Dataset]:
    """What was asked of the last measurement, and its items. Raises InputError where there is none."""
    kept, items = (person.results.get(name) for name in (MEASURED, ITEMS))
    if not kept or not items:
        raise InputError("Measure under Layers and multipliers first: this is about what was measured there.")
    try:
        pairs = tuple(ContrastPair(**pair) for pair in items["pairs"])
        return kept["asked"], Dataset(**{**items, "pairs": pairs})
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError("The measurement that was kept cannot be read; measure again.") from error


def _instructions(asked: dict[str, Any], positive: str, negative: str) -> Instructions | None:
    """Those that were typed, else those that ship for the vector or its items."""
    if (positive or "").strip() or (negative or "").strip():
        return Instructions.of({"positive": positive or "", "negative": negative or ""}, "The instructions")
    return find_instructions(asked["vector"]) or find_instructions(asked["preset"] or "")


def as_behaviour(name: str, vector: SteeringVector, items: Dataset, told: Instructions | None) -> Behaviour:
    """The items, with the pairs of the vector where those are known: the items stand in for pairs that are not."""
    pairs = pairs_behind(vector.provenance.dataset_sha256)
    return Behaviour(name, pairs or items, items, told, vector, pairs is not None)

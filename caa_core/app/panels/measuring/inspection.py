"""Look inside: what a vector is aligned with, what it does to the next token, what it says by itself, what it costs."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from caa_core.app.as_code import AsCode, Here
from caa_core.app.as_code import inspection as inspection_code
from caa_core.app.forms import control
from caa_core.app.panels.common import (
    QUIET,
    Updates,
    check_fit,
    guarded,
    json_download,
    misfits,
    plain,
    recommended,
)
from caa_core.app.panels.controls import as_code, chosen_voice, source_of, voice_controls
from caa_core.app.panels.experiment import Experiment, Plain
from caa_core.app.panels.layout import choices, folded
from caa_core.app.panels.measuring.cost import CostPanel
from caa_core.app.panels.measuring.gate import GatePanel
from caa_core.app.panels.measuring.knowledge import KnowledgePanel
from caa_core.app.panels.measuring.refusals import RefusalsPanel
from caa_core.app.panels.measuring.strength import StrengthPanel
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.data.text import spans
from caa_core.limits import PROMPT
from caa_core.measuring.inspection import Lens, Views, inspect
from caa_core.measuring.requests import InspectionRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports import markup
from caa_core.reports.inspection import lens_by_layer, next_token_movers

FIRST = "joy"
NO_PIECES = "This class shows no pieces of words: they are often meaningless, and some are unlucky."
CHAT, PLAIN = "A message in a chat", "Text as it is"
ALIGNMENT = folded(
    "Blue: along the vector; orange: against it. Hover over a token, tap it, or use arrow keys, for its numbers.",
    "It is the projection of the residual stream after the layer. The unsteered model reads the text, so what steering "
    "would add is not in these numbers. The first token has no colour: its stream is far larger than others.",
)
LENS = folded(
    "What the model would say next if it ended after a layer.",
    "The residual stream at the prompt's last token through the final norm and the head. What is added at the steered "
    "layer is part of the steered stream from there on.",
)
UNEMBEDDING = folded(
    "The pieces of words that the vector alone speaks for and against. They are often meaningless.",
    "The vector through the final norm and the head, past the blocks above its layer: logits less their mean over the "
    "vocabulary. It shows words only where a vector works on the output directly; many do not.",
)


class InspectionForm:
    """What is looked at, in parts by name, and where in the stream."""

    def __init__(self, page: Page):
        self.voice = voice_controls(page.studio, "Steering vector", "views", FIRST, recommended(page.studio, FIRST))
        info = "The prompt's tokens that are steered. index:-2 is its second last."
        with gr.Accordion("More settings", open=False, elem_id="views-settings"):
            self.how = gr.Radio([CHAT, PLAIN], value=CHAT, label="Read as", elem_id="views-how")
            self.positions = control(InspectionRequest, "positions", info=info, elem_id="views-positions")
            self.operation = control(InspectionRequest, "operation", elem_id="views-operation")
            self.spread = control(InspectionRequest, "spread", elem_id="views-spread")
            self.shares = control(InspectionRequest, "shares", elem_id="views-shares")

        @guarded
        def choose(request: gr.Request, name: str) -> tuple[int, float]:
            return recommended(page.studio, name, page.session(request))

        self.voice.vector.input(choose, self.voice.vector, [self.voice.layer, self.voice.multiplier], **QUIET)


@dataclass(frozen=True)
class InspectionChoice:
    """What is looked at, with which vector."""

    vector: str
    request: InspectionRequest


class InspectionPanel(Experiment[InspectionChoice]):
    """The tab."""

    name = "views"
    takes_settings = True

    def __init__(self, page: Page):
        with gr.Row():
            with choices("views") as line:
                form = InspectionForm(page)
            with gr.Column(scale=3, min_width=300):
                prompt = presets()[FIRST].prompts[0]
                text = gr.Textbox(prompt, label="Text or prompt", lines=2, max_lines=12, elem_id="views-text")
                with gr.Row():
                    look = gr.Button("Look inside", variant="primary", size="md", min_width=80, elem_id="views-look")
                    measure = gr.Button("Measure the cost", size="md", min_width=80, elem_id="views-measure")
                    stop = gr.Button("Stop", variant="stop", size="md", min_width=80, elem_id="views-stop")
                    self.data = gr.DownloadButton(
                        "Data (JSON)", visible=False, size="md", scale=0, min_width=110, elem_id="views-data"
                    )
                status = gr.Markdown(elem_id="views-status")
                cost = gr.Markdown(elem_id="views-cost")
                with gr.Column(visible=False) as self.results:
                    gr.Markdown(f"### Alignment by token\n{ALIGNMENT}")
                    self.alignment = gr.HTML(elem_id="views-alignment", container=True)
                with gr.Row():
                    with gr.Column(min_width=300, visible=False) as self.next_token:
                        gr.Markdown("### Next token")
                        self.kl = gr.Markdown(elem_id="views-kl")
                        self.movers = figure("Largest movers", "views-next")
                    with gr.Column(min_width=300, visible=False) as self.by_layer:
                        gr.Markdown(f"### Logit lens\n{LENS}")
                        self.lens = figure("The next token by layer", "views-lens")
                        with gr.Accordion("The likeliest token after each layer", open=False, elem_id="views-layers"):
                            self.layers = gr.HTML()
                with gr.Column(min_width=300, visible=False) as self.unembedding:
                    gr.Markdown(f"### What the vector says by itself\n{UNEMBEDDING}")
                    self.words = gr.HTML(elem_id="views-words")
        self.voice = form.voice
        page.watch([*form.voice], line, lambda _, values: chosen_voice(*values))
        done = {name: getattr(form, name) for name in ("operation", "spread", "shares")}
        where = {"positions": form.positions, **done}
        CostPanel(page, form.voice, done, [measure, look], stop, cost)
        gr.Markdown("### What it costs, and where it applies")
        for panel in (StrengthPanel, KnowledgePanel, RefusalsPanel, GatePanel):
            with gr.Accordion(panel.title, open=False, elem_id=f"{panel.name}-section"):
                panel(page, form.voice, where)
        asked = {**vars(form.voice), **where, "how": form.how, "text": text}
        shown = [self.results, self.next_token, self.by_layer, self.unembedding, self.data, self.alignment]
        shown += [self.kl, self.movers, self.lens, self.layers, self.words]
        super().__init__(page, asked, [look, measure], stop, status, shown)
        as_code(page.studio, self.name, self.form, written_as_code)

    def ask(self, session: Session, form: Mapping[str, Any]) -> InspectionChoice:
        PROMPT.check(len(form["text"] or ""))
        chosen = InspectionRequest.chosen(form) | {"text": form["text"] or "", "chat": form["how"] == CHAT}
        return InspectionChoice(form["vector"], InspectionRequest.parse(**chosen))

    def work(
        self, model: SteerableModel, session: Session, asked: InspectionChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        check_fit(model, vector)
        request = asked.request
        views = yield from inspect(model, request, vector)
        said = (
            f"{plain(asked.vector)} at {spans(request.layers)}, × {request.multiplier:g}"
            f"{'' if request.operation.is_addition else f', {request.operation}'}, "
            f"{len(views.alignment.tokens)} tokens, {plain(model.name)}."
        )
        notes = [said, *misfits(model, vector)]
        return {"vector": asked.vector, "multiplier": request.multiplier, "notes": notes, **views.summary()}

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        views, room = Views.of(kept), session.classroom
        pieces = not room or room.rules.word_pieces
        return {
            self.results: gr.Column(visible=True),
            self.next_token: gr.Column(visible=True),
            self.by_layer: gr.Column(visible=True),
            self.unembedding: gr.Column(visible=pieces),
            self.status: "  \n".join(kept["notes"]),
            self.alignment: markup.aligned(views.alignment),
            self.kl: _next_token(views) if pieces else NO_PIECES,
            self.movers: next_token_movers(views.next_token) if pieces else None,
            self.lens: lens_by_layer(views.lens if pieces else _without_pieces(views.lens)),
            self.layers: _lens(views) if pieces else "",
            self.words: _words(views) if pieces else "",
        }

    def files(self, session: Session, kept: Plain) -> Updates:
        room = session.classroom
        return {self.data: json_download(session, "look inside", kept)} if not room or room.rules.word_pieces else {}


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    voice = InspectionPanel(page).voice
    return Tab([voice.vector], [voice.layer])


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """What is chosen."""
    options = {name: form[name] for name in ("positions", "operation", "shares")} | {"chat": form["how"] == CHAT}
    source, layer = source_of(session, form["vector"]), (form["spread"] or "").replace(" ", "") or form["layer"]
    return inspection_code(here, form["text"] or "", source, layer, form["multiplier"], options)


def _next_token(views: Views) -> str:
    found = views.next_token
    if not found.steered_tokens:
        return "**No token of the prompt is steered** under these positions or at multiplier 0, so nothing changes."
    return (
        f"KL(unsteered ‖ steered) of the next token: **{found.kl:.3f} nats**; {found.steered_tokens} of the prompt's "
        "tokens steered. Shown: the tokens that gain and lose most."
    )


def _without_pieces(lens: Lens) -> Lens:
    """Without the likeliest token after each layer."""
    return replace(lens, tokens=[[""] * len(line) for line in lens.tokens])


def _lens(views: Views) -> str:
    unsteered, steered = (
        [(markup.quoted(token), p) for token, p in zip(tokens, probabilities, strict=True)]
        for tokens, probabilities in zip(views.lens.tokens, views.lens.probabilities, strict=True)
    )
    heads = ["layer", "unsteered", "probability", "steered", "probability"]
    layers = enumerate(zip(unsteered, steered, strict=True))
    rows: list[list[str | float]] = [[str(layer), *a, *b] for layer, (a, b) in layers]
    return markup.table(heads, rows)


def _words(views: Views) -> str:
    found = views.unembedding
    rows = zip(found.promoted, found.suppressed, strict=True)
    cells: list[list[str | float]] = [
        [markup.quoted(up), high, markup.quoted(down), low] for (up, high), (down, low) in rows
    ]
    return markup.table(["promotes", "logit", "suppresses", "logit"], cells)

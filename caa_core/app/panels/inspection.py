"""Look inside: what a vector is aligned with, what it does to the next token, what it says by itself, what it costs."""

from collections.abc import Generator, Iterator
from typing import Any

import gradio as gr

from caa_core.app.forms import component
from caa_core.app.panels.common import (
    QUIET,
    bar,
    busy,
    check_fit,
    events,
    freed,
    guarded,
    json_download,
    layer_slider,
    misfits,
    multiplier_slider,
    plain,
    recommended,
    stopper,
    vector_picker,
)
from caa_core.app.panels.measuring.knowledge import KnowledgePanel
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.presets import presets
from caa_core.limits import PROMPT
from caa_core.measuring.cost import TextCosts, neutral_cost
from caa_core.measuring.inspection import Views, as_prompt, look_inside
from caa_core.metrics.grid import whole
from caa_core.metrics.options import POSITIONS
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports import markup
from caa_core.reports.cost import costs_by_multiplier
from caa_core.reports.inspection import lens_by_layer, next_token_movers
from caa_core.steering.interventions import Steer
from caa_core.vectors.vector import SteeringVector

PANEL, COSTS = "views", "views-cost"
FIRST = "joy"
CHAT, PLAIN = "A message in a chat", "Text as it is"
ALIGNMENT = (
    "How far the residual stream after the layer points along the vector, at each token: blue along it, orange against "
    "it. The unsteered model reads the text, so what steering would add is not in these numbers. The first token has "
    "no colour: its stream is many times as large as any other's. Hover over a token, or tap it, for its numbers."
)
LENS = (
    "What the model would say next if it ended after a layer: the residual stream at the prompt's last token through "
    "the final norm and the head. What is added at the steered layer is part of the steered stream from there on."
)
UNEMBEDDING = (
    "The vector alone through the final norm and the head, past the blocks above its layer: logits less their mean "
    "over the vocabulary. It shows words only where a vector works on the output directly; many do not."
)
COST = (
    "KL and perplexity on a page of neutral prose that ships with the app, steered at every token, at several "
    "multipliers."
)


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    studio = page.studio
    start = recommended(studio, FIRST)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            vector = vector_picker("Steering vector", FIRST, "views-vector")
            layer = layer_slider(studio, start[0], "views-layer")
            multiplier = multiplier_slider(start[1], "views-multiplier")
            info = "The prompt's tokens that are steered. index:-2 is its second last."
            positions = component(POSITIONS, info=info, elem_id="views-positions")
            how = gr.Radio([CHAT, PLAIN], value=CHAT, label="Read as", elem_id="views-how")
        with gr.Column(scale=3, min_width=300):
            text = gr.Textbox(
                presets()[FIRST].prompts[0], label="Text or prompt", lines=3, max_lines=12, elem_id="views-text"
            )
            with gr.Row():
                look = gr.Button("Look inside", variant="primary", min_width=80, elem_id="views-look")
                measure = gr.Button("Measure the cost", min_width=80, elem_id="views-measure")
                stop = gr.Button("Stop", variant="stop", min_width=80, elem_id="views-stop")
                data = gr.DownloadButton("Data (JSON)", interactive=False, min_width=80, elem_id="views-data")
            status = gr.Markdown(elem_id="views-status")
            cost = gr.Markdown(elem_id="views-cost")
            gr.Markdown(f"### Alignment by token\n{ALIGNMENT}")
            alignment = gr.HTML(elem_id="views-alignment", container=True)
    with gr.Row():
        with gr.Column(min_width=300):
            gr.Markdown("### Next token")
            kl = gr.Markdown(elem_id="views-kl")
            movers = figure("Largest movers", "views-next")
        with gr.Column(min_width=300):
            gr.Markdown(f"### Logit lens\n{LENS}")
            lens = figure("The next token by layer", "views-lens")
            with gr.Accordion("The likeliest token after each layer", open=False, elem_id="views-layers"):
                layers = gr.HTML()
    with gr.Row():
        with gr.Column(min_width=300):
            gr.Markdown(f"### The vector through the unembedding\n{UNEMBEDDING}")
            words = gr.HTML(elem_id="views-words")
            KnowledgePanel(page, vector, layer, positions)
        with gr.Column(min_width=300):
            gr.Markdown(f"### Cost on neutral text\n{COST}")
            costs = figure("Cost by multiplier", "views-costs")
            costs_data = gr.DownloadButton("Cost (JSON)", size="sm", interactive=False, elem_id="views-costs-data")

    def noted(session: Session) -> str:
        """What the views that are shown are of."""
        return "  \n".join(session.person.results.get(PANEL, {}).get("notes", []))

    def shown(session: Session, kept: dict[str, Any]) -> dict:
        views = Views.of(kept)
        return {
            status: noted(session),
            data: json_download(session, "look inside", kept),
            alignment: markup.aligned(views.alignment),
            kl: _next_token(views),
            movers: next_token_movers(views.next_token),
            lens: lens_by_layer(views.lens),
            layers: _lens(views),
            words: _words(views),
        }

    def weighed(session: Session, kept: dict[str, Any]) -> dict:
        found = TextCosts.of(kept)
        return {
            cost: f"**{plain(kept['vector'])}**: {found}",
            costs: costs_by_multiplier(found),
            costs_data: json_download(session, "cost", kept),
        }

    @guarded
    def run(request: gr.Request, *values: Any) -> Iterator[dict]:
        session = studio.session(request.session_hash)
        PROMPT.check(len(values[-1] or ""))
        job = studio.run(lambda model: _look(studio, model, session, *values))
        yield {status: "Waiting for the model ...", **busy(*starters)}
        for progress in events(session, PANEL, job):
            yield {status: bar(progress)}
        if job.stopped:
            yield {status: "Stopped; what was there before is still shown."}
            return
        views, notes = job.result
        kept = {"vector": values[0], "multiplier": values[2], "notes": notes, **views.summary()}
        session.person.remember(PANEL, kept)
        yield shown(session, kept)

    @guarded
    def weigh(request: gr.Request, name: str, at: float) -> Iterator[dict]:
        session = studio.session(request.session_hash)
        job = studio.run(lambda model: _weigh(studio, model, session, name, whole(at, "The layer")))
        yield {status: "Waiting for the model ...", **busy(*starters)}
        for progress in events(session, PANEL, job):
            yield {status: bar(progress)}
        if job.stopped:
            yield {status: "Stopped; nothing was measured to its end."}
            return
        kept = {"vector": name, **job.result.summary()}
        session.person.remember(COSTS, kept)
        yield {status: noted(session), **weighed(session, kept)}

    @guarded
    def restore(request: gr.Request) -> dict:
        session = studio.session(request.session_hash)
        looked, measured = (session.person.results.get(name) for name in (PANEL, COSTS))
        views = shown(session, looked) if looked else {status: gr.skip()}
        return views | (weighed(session, measured) if measured else {})

    @guarded
    def choose(request: gr.Request, name: str) -> tuple[int, float]:
        return recommended(studio, name, studio.session(request.session_hash))

    starters = [look, measure]
    parts = [alignment, kl, movers, lens, layers, words, status, data]
    weighing = [cost, costs, costs_data]
    looking = look.click(run, [vector, layer, multiplier, positions, how, text], [*parts, *starters], **QUIET)
    measuring = measure.click(weigh, [vector, layer], [status, *weighing, *starters], **QUIET)
    for event in (looking, measuring):
        freed(event, *starters)
    stop.click(stopper(studio, PANEL), queue=False, **QUIET)
    vector.input(choose, vector, [layer, multiplier], **QUIET)
    page.restore(restore, [*parts, *weighing])
    return Tab([vector], [layer])


def _vector(
    studio: Studio, model: SteerableModel, session: Session, name: str
) -> Generator[Progress, None, SteeringVector]:
    vector = yield from studio.vector(model, session, name)
    check_fit(model, vector)
    return vector


def _look(
    studio: Studio,
    model: SteerableModel,
    session: Session,
    name: str,
    layer: float,
    multiplier: float,
    positions: str,
    how: str,
    text: str,
) -> Generator[Progress, None, tuple[Views, list[str]]]:
    """The views, and what the reader should know about them."""
    vector = yield from _vector(studio, model, session, name)
    at = whole(layer, "The layer")
    prompt = as_prompt(model, text or "", how == CHAT)
    steer = Steer(vector.at(at), at, float(multiplier))
    views = yield from look_inside(model, prompt, steer, POSITIONS.value(positions))
    done = f"{plain(name)} at layer {at}, × {multiplier:g}, {len(prompt.ids)} tokens, {plain(model.name)}."
    return views, [done, *misfits(model, vector)]


def _weigh(
    studio: Studio, model: SteerableModel, session: Session, name: str, layer: int
) -> Generator[Progress, None, TextCosts]:
    vector = yield from _vector(studio, model, session, name)
    return (yield from neutral_cost(model, vector.at(layer), layer))


def _next_token(views: Views) -> str:
    found = views.next_token
    if not found.steered_tokens:
        return "**No token of the prompt is steered** under these positions or at multiplier 0, so nothing changes."
    return (
        f"KL(unsteered ‖ steered) of the next token: **{found.kl:.3f} nats**; {found.steered_tokens} of the prompt's "
        "tokens steered. Shown are the tokens that gain and lose most."
    )


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

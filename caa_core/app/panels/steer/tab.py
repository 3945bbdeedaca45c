"""Steer: one vector, a layer, a multiplier; the unsteered and the steered answer side by side."""

import html
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import gradio as gr

from caa_core.app.as_code import AsCode, Here, steering
from caa_core.app.panels.common import (
    LATEST,
    Updates,
    events,
    going,
    guarded,
    misfits,
    plain,
    recommended,
    visible,
)
from caa_core.app.panels.controls import VoiceControls, as_code, chosen_voice, link_button, source_of, voice_controls
from caa_core.app.panels.conversation import Conversation, ConversationRequest, Voices, writing_settings
from caa_core.app.panels.layout import choices, folded
from caa_core.app.panels.made_with import Linked
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.steer.chosen import SteerChoice, more_settings
from caa_core.app.panels.steer.coloured import LABEL, MEANS, ColouredAnswer
from caa_core.app.panels.steer.drift import Drift
from caa_core.app.panels.steer.known import effects_of, gauge_of
from caa_core.app.panels.steer.look import effect_by_layer, strength_in_words
from caa_core.app.panels.steer.strip import StripPanel
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.effect import Effect
from caa_core.metrics.options import GATE, OPERATION
from caa_core.model.catalog import CATALOG
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.interventions import parse_steer
from caa_core.vectors.vector import SteeringVector

FIRST = "joy"
# What says how strongly a vector is steered with, by name; the operation before what may be chosen beside it.
STRENGTH = ("layer", "multiplier", "operation", "spread", "shares")
# Of a name above a column.
LONGEST = 40
BEFORE = "The chat until now is not part of it."


def controls(studio: Studio) -> VoiceControls:
    """The tab's controls, which `build` renders."""
    return voice_controls(studio, "Steering vector", "steer", FIRST, recommended(studio, FIRST), render=False)


class SteerChat(Conversation):
    """Unsteered and steered answers."""

    name = "steer"
    takes_settings = True
    labels: ClassVar[Mapping[str, str]] = {"unsteered": "Unsteered", "steered": f"Steered with {FIRST}"}
    marked_column = 1

    def called(self, form: Mapping[str, Any]) -> Sequence[str]:
        name = visible(form["vector"] or "")[:LONGEST]
        return ["Unsteered", f"Steered with {name}"]

    def prepare(
        self, model: SteerableModel, session: Session, form: Mapping[str, Any]
    ) -> Generator[Progress, None, Voices]:
        name, chosen = form["vector"], SteerChoice.of(model, form)
        vector = yield from self.studio.vector(model, session, name)
        gate = yield from self.studio.gate(model, session, chosen.gate)
        notes = [chosen.said(name, vector), *misfits(model, vector)]
        return Voices([(), chosen.steers(vector)], notes, captions=["", chosen.caption(name)], gate=gate)


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    studio = page.studio
    vector, layer, multiplier = page.steer.vector, page.steer.layer, page.steer.multiplier
    with gr.Row():
        with choices(SteerChat.name) as chosen_line:
            vector.render()
            card = gr.Markdown(_card(FIRST), elem_id="steer-card")
            layer.render()
            effect = gr.HTML(elem_id="steer-effect", elem_classes="alongside")
            multiplier.render()
            gauge = gr.HTML(elem_id="steer-strength", elem_classes="alongside")
            switch = gr.Checkbox(False, label=LABEL, info=MEANS, elem_id="steer-coloured")
            settings = writing_settings(SteerChat.name, lambda: more_settings(SteerChat.name))
            copies = link_button(SteerChat.name)
        with gr.Column(scale=3):
            conversation = SteerChat(page, {**settings, **vars(page.steer)}, presets()[FIRST].prompts)
            ColouredAnswer(page, conversation, switch)
            Drift(page, conversation, ("Unsteered", "Steered"))
            StripPanel(page, conversation)
            as_code(studio, SteerChat.name, conversation.form, written_as_code)
    Linked(page, SteerChat.name, copies, conversation.form, ConversationRequest.options())

    @guarded
    def measure(request: gr.Request, name: str, *values: Any) -> Iterator[Updates]:
        session = page.session(request)
        job = studio.run(lambda model: studio.vector(model, session, name), session)
        for progress in events(session, "steer-measure", job):
            yield {gauge: going("Making the vector", progress)}
        if job.done:
            found = known(studio.model, session, name, job.result, dict(zip(STRENGTH, values, strict=True)))
            yield dict(zip((gauge, effect), found, strict=True))

    def vector_chosen(name: str, *stands: Any) -> Updates:
        return {card: _card(name), **conversation.heads_of_nothing({"vector": name}, *stands)}

    @guarded
    def choose(request: gr.Request, name: str, done: str) -> tuple[int, float, gr.Dataset]:
        prompts = presets()[name if name in presets() else FIRST].prompts
        start, times = recommended(studio, name, page.session(request))
        return start, within(times, done), gr.Dataset(samples=[[prompt] for prompt in prompts])

    operation = settings["operation"]
    chosen = [vector, *(conversation.form[name] for name in STRENGTH)]
    vector.input(choose, [vector, operation], [layer, multiplier, conversation.suggestions], **LATEST)
    operation.input(within, [multiplier, operation], multiplier, **LATEST)  # type: ignore[attr-defined]  # it has
    stands = [vector, conversation.exchanges, conversation.before]
    vector.change(vector_chosen, stands, [card, *conversation.chatbots], **LATEST)
    page.watch(chosen[:5], chosen_line, lambda session, values: chosen_voice(*values))
    # Something may have been measured meanwhile, in another tab.
    changes = [page.blocks.load, tab.select, *(part.change for part in chosen)]  # type: ignore[attr-defined]  # they have
    page.latest(changes, measure, chosen, [gauge, effect])
    return Tab([vector], [layer])


def within(multiplier: float, done: str) -> float:
    """A multiplier, or the largest of an operation that can take away no more; 1 is all of it."""
    try:
        return min(multiplier, OPERATION.value(done).largest)
    except InputError:  # a name on its way is no mistake to shout about
        return multiplier


def known(
    model: SteerableModel, session: Session, name: str, vector: SteeringVector, form: Mapping[str, Any]
) -> tuple[str, str]:
    """What is known of a vector under what is chosen, and of what it does by layer, as HTML. What was measured is of
    vectors that are added at one layer. form: by the names of `STRENGTH`.
    """
    layer, multiplier = int(form["layer"]), form["multiplier"]
    curve = effect_by_layer(effects_of(session, model, name, vector), layer, model.num_layers)
    try:
        chosen = SteerChoice.of(model, form)
        if said := chosen.in_place_of_strength():
            chosen.steers(vector)  # a layer that it does not have
            return f"<p>{html.escape(said)}</p>", ""
        gauge = gauge_of(session, model, name, vector, layer) if chosen.is_plain else None
        return strength_in_words(vector, layer, multiplier, gauge), curve if chosen.is_plain else ""
    except InputError as error:  # a layer on the way of the slider is no mistake to shout about
        return html.escape(visible(str(error))), curve


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """What is chosen, with the question that stands there, else the one that was asked last."""
    asked = [exchange.question for exchange in form["exchanges"] or ()]
    if (form["question"] or "").strip() or not asked:
        asked.append(form["question"] or presets()[FIRST].prompts[0])
    layers = (form["spread"] or "").replace(" ", "") or int(form["layer"])
    gate = GATE.value(form.get("gate"))
    opens = source_of(session, parse_steer(gate)[0]) if gate else None
    code = steering(here, asked[-1], source_of(session, form["vector"]), layers, form["multiplier"], form, opens)
    return replace(code, notes=[*code.notes, BEFORE]) if asked[:-1] else code


def _card(name: str) -> str:
    preset = presets().get(name)
    if not preset:
        return "A vector of yours."
    said = f"{preset.description} Opposite: *{preset.opposes}*."
    if not preset.measured:
        return said
    effect, title = Effect.of(preset.measured), plain(CATALOG[preset.model].title)
    details = folded("", f"Measured on {title}. {effect}", "Details").lstrip()
    return "\n\n".join(filter(None, [said, effect.in_short, effect.wrong_way, details]))

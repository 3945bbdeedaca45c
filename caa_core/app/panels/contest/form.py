"""The controls of the two voices in the Compete tab, and in numbers what their sum is before anything runs."""

import html
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import gradio as gr
from gradio.components import Component

from caa_core.app.forms import component, control
from caa_core.app.panels.common import (
    LATEST,
    MULTIPLIERS,
    QUIET,
    Updates,
    added,
    events,
    going,
    guarded,
    markdown_table,
    plain,
    recommended,
    vector_choices,
    visible,
)
from caa_core.app.panels.contest.chosen import BEGUN, DIFFERENT, KINDS, NO_SUM, SAME, SEVERAL, TOLD, Chosen, Voicing
from caa_core.app.panels.controls import VoiceControls, file_picker, link_button, multiplier_at, voice_controls
from caa_core.app.panels.conversation import Conversation, writing_settings
from caa_core.app.panels.experiment import Asked, Experiment, Plain, Run
from caa_core.app.panels.layout import choices, folded
from caa_core.app.panels.made_with import Linked
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.contest.decomposition import AGREES, Decomposition, decompose, less_shared, same_strength, shared_part
from caa_core.contest.requests import ContestRequest
from caa_core.contest.voice import Voice
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.costs.strength import Strength, as_costly
from caa_core.measuring.requests import FEWEST
from caa_core.metrics.grid import whole
from caa_core.metrics.options import OPERATION, SHARES
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress

FIRST = ("joy", "gloom")
SHARING = "Opposites share much where both were made against the same plain answers. "
WHOLE = "Both voices are taken whole: at one layer, equally strong, nothing would be left of what sets them apart."
OPERATIONS = {"operation_a": "Operation of A", "operation_b": "Operation of B"}
SPREADS = {"spread_a": "Several layers of A", "spread_b": "Several layers of B"}
SPREAD = "Such as 12-15, in place of the one layer. B has layers of its own in a contest at different ones."
# Of a name above a column, and of what a section's title says.
LONGEST = 30
SENTENCE = re.compile(r"(?<=[.!?])\s|\n")
# B begins so many layers above A where they are to speak at different ones.
APART = 6


class OfVoices(Experiment[Asked]):
    """An experiment of the two voices that are chosen. What has a `title` is a folded `section`, whose title says in
    one line what came of it.
    """

    voices: "VoicesForm"
    title: ClassVar[str] = ""
    section: gr.Accordion

    def headed(self, said: str) -> Updates:
        """Update of the section's title: the first sentence of what is said."""
        line = visible(SENTENCE.split(said, maxsplit=1)[0])
        return {self.section: gr.Accordion(label=f"{self.title} · {line}" if line else self.title)}

    def of_presets(self, run: Run[Asked]) -> bool:
        """Whether it asks for presets alone: what was written to a model is the person's."""
        form = run.form
        vectors = form["kind"] in (SAME, DIFFERENT) and {form["vector_a"], form["vector_b"]} <= presets().keys()
        return vectors and not (form["file"] or (form["system"] or "").strip())

    def unused(self, form: Mapping[str, Any]) -> Collection[str]:
        # Answers of one's own are taken in place of a preset's.
        instead = {"contest"} if form.get("file") else set()
        return {*super().unused(form), *Chosen.unused(form), *instead}

    def refill(self, session: Session, kept: Plain) -> Updates:
        asked = self.asked(kept)
        seen = self.voices.seen(asked["kind"]) if asked and asked.get("kind") in KINDS else {}
        return added(seen, super().refill(session, kept))


class LinkedVoices(Linked):
    """A link to two voices."""

    def __init__(self, page: Page, voices: "VoicesForm", form: Mapping[str, Component], options: Mapping[str, Any]):
        self.voices = voices
        super().__init__(page, "compete", voices.link, form, options)

    def unused(self, form: Mapping[str, Any]) -> Collection[str]:
        return Chosen.unused(form)

    def also(self, session: Session, form: Mapping[str, Any]) -> Updates:
        return self.voices.seen(form["kind"])


class VoicesForm:
    """Two voices to choose, and their decomposition beside them. `parts`: what is chosen, by the names of `Chosen`.
    `settings`: what there is to set about writing, by name; `measured_on`: on what the two are measured, and how.
    """

    def __init__(self, page: Page, panel: str):
        """panel: whose settings of writing are drawn below the voices."""
        self.page, self.studio, self.voicing = page, page.studio, Voicing(page.studio)
        with choices(panel) as line:
            self._draw_voices()
            self.kind = gr.Dropdown(KINDS, value=SAME, label="Kind of contest", elem_id="compete-kind")
            self.table = gr.Markdown(elem_id="compete-decomposition", elem_classes="numbers")
            self.settings = writing_settings(panel, _operations)
            self.measured_on, self.costly = _measured_on()
            self.link = link_button(panel)
        self.parts: dict[str, Component] = {
            "vector_a": self.a.vector,
            "layer_a": self.a.layer,
            "multiplier_a": self.a.multiplier,
            "vector_b": self.b.vector,
            "layer_b": self.b.layer,
            "multiplier_b": self.b.multiplier,
            "kind": self.kind,
            "told": self.told,
            "begins": self.begins,
            "apart": self.apart,
            # Of the voices, not of what they write.
            **{name: self.settings.pop(name) for name in (*OPERATIONS, *SPREADS, "shares")},
        }
        page.watch([*self.parts.values()], line, lambda _, values: _in_one_line(self._chosen(values)))

    def _draw_voices(self) -> None:
        # Both begin at one layer, where the decomposition has something to say, and weak enough for their sum.
        layer, _ = recommended(self.studio, FIRST[0])
        self.a, self.b = (_controls(self.studio, *voice, layer) for voice in zip("AB", FIRST, strict=True))
        opposite = presets()[FIRST[1]]
        self.told = gr.Textbox(
            opposite.told, label="What the model is told (voice B)", lines=2, visible=False, elem_id="compete-told"
        )
        self.begins = gr.Textbox(
            opposite.begins, label="How the answer begins (voice B)", lines=2, visible=False, elem_id="compete-begins"
        )
        info = "Each voice less what both share."
        self.apart = gr.Checkbox(False, label="Only what sets them apart", info=info, elem_id="compete-apart")
        self.equal = gr.Button("Make B as strong as A", size="sm", elem_id="compete-equal")

    def wire(self, tab: gr.Tab, chat: Conversation) -> None:
        """Let the parts follow each other: whose answers are measured follows voice A. chat: its columns are of nobody,
        A, B, both, and what both share.
        """
        self.chat, self.shared, self.contest = chat, chat.chatbots[-1], self.measured_on["contest"]
        parts = list(self.parts.values())
        changes = [self.page.blocks.load, tab.select, *(part.change for part in parts)]  # type: ignore[attr-defined]  # all of these have it
        stands = [chat.exchanges, chat.before]
        self.page.latest(changes, self.explain, [*parts, *stands], [self.table, self.apart, *chat.chatbots])
        self.equal.click(self.balance, parts, self.b.multiplier, **LATEST)
        self.costly.click(self.balance_cost, parts, [self.table, self.b.multiplier], **LATEST)
        swapped = [self.kind, self.b.layer, self.b.multiplier, self.equal, self.costly, self.told, self.begins]
        self.kind.change(self.swap, [self.kind, self.a.layer, self.b.layer], swapped, **LATEST)
        asked = [self.apart, self.kind, self.a.multiplier, self.b.multiplier]
        self.apart.input(self.part, asked, self.kind, **QUIET)
        self.page.take_up("compete", self._wanted, [self.a.vector, self.a.layer])
        brought = [self.a.layer, self.b.vector, self.b.layer, self.told, self.begins, self.contest]
        self.a.vector.input(self.follow_a, [self.a.vector, self.b.layer, self.kind], brought, **LATEST)
        self.b.vector.input(self.follow_b, self.b.vector, [self.told, self.begins], **QUIET)

    @guarded
    def explain(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """What the two come to, in numbers, and what is offered for such a pair."""
        *held, exchanges, before = values
        session, chosen = self.page.session(request), self._chosen(held)
        try:
            # What is known before the vectors have come.
            vectors = chosen.kind in (SAME, DIFFERENT)
            heads = self.chat.heads_of_nothing(vars(chosen), exchanges, before)
            yield {self.apart: gr.Checkbox(visible=vectors), **heads}
            job = self.studio.run(lambda model: self.voicing.both(model, session, chosen), session)
            for progress in events(session, "compete-explain", job):
                yield {self.table: going("Making the vectors", progress)}
            if not job.done:
                return
            a, b = job.result
            if max(len(a.steers), len(b.steers)) > 1:
                yield {self.table: SEVERAL if b.vector else NO_SUM[chosen.kind], self.shared: gr.Chatbot(visible=False)}
                return
            table = _table(a, b) if b.vector else _table_beside_words(a, NO_SUM[chosen.kind])
            if chosen.apart and vectors and not chosen.may_part:
                table = f"{WHOLE} {table}"
            share = b.vector and shared_part(a, b) is not None
            yield {self.table: table, self.shared: gr.Chatbot(visible=bool(share))}
        except InputError as error:  # a slider or a text on its way is no mistake to shout about
            yield {self.table: plain(str(error)), self.shared: gr.Chatbot(visible=False)}

    @guarded
    def balance(self, request: gr.Request, *values: Any) -> float:
        """B's multiplier at which it is as strong as A."""
        session, chosen = self.page.session(request), self._chosen(values)
        job = self.studio.run(lambda model: self.voicing.pair(model, session, chosen), session)
        a, b = job.wait()
        if not (a.steer.operation.is_sum and b.steer.operation.is_sum):
            raise InputError("Only vectors that are added have strengths that can be compared.")
        multiplier = same_strength(a, b)
        if multiplier is None:
            raise InputError(
                "One of the vectors does not say its residual norms, so their strengths cannot be compared."
            )
        if abs(multiplier) > MULTIPLIERS["maximum"]:
            raise InputError(f"B would need a multiplier of {multiplier:.1f}, which is out of range; weaken A first.")
        return round(multiplier, 1)

    @guarded
    def balance_cost(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """B's multiplier at which it costs what A does in plain answers."""
        session, chosen = self.page.session(request), self._chosen(values)
        job = self.studio.run(lambda model: self._as_costly(model, session, chosen), session)
        for progress in events(session, "compete-equal-cost", job):
            yield {self.table: going("Looking for what costs the same", progress)}
        if not job.done:
            return
        found = job.result
        if found.factor is None:
            raise InputError(f"B cannot cost what A does. {found}")
        gr.Info(plain(str(found)))
        yield {self.b.multiplier: multiplier_at(round(found.factor * chosen.multiplier_b, 2))}

    def _as_costly(
        self, model: SteerableModel, session: Session, chosen: Chosen
    ) -> Generator[Progress, None, Strength]:
        a, b = yield from self.voicing.pair(model, session, chosen)
        return (yield from as_costly(model, a.steers, b.steers))

    @guarded
    def follow_a(self, request: gr.Request, name: str, at_b: float, kind: str) -> Updates:
        """A preset brings its layer, its opposite as B, and the answers of the two."""
        start, _ = recommended(self.studio, name, self.page.session(request))
        if name not in presets():
            return {self.a.layer: start}
        other = presets()[presets()[name].opposes]
        return {
            self.a.layer: start,
            self.b.vector: other.name,
            self.b.layer: _layer_of_b(self.studio, kind, start, at_b),
            self.told: other.told,
            self.begins: other.begins,
            self.contest: name,
        }

    @guarded
    def follow_b(self, name: str) -> Updates:
        """A preset brings the words that stand for it."""
        if name not in presets():
            return {self.told: gr.skip()}
        return {self.told: presets()[name].told, self.begins: presets()[name].begins}

    @guarded
    def part(self, apart: bool, kind: str, by_a: float, by_b: float) -> Any:
        """What sets them apart is asked of two layers, where nothing would be left of it at one."""
        return DIFFERENT if apart and kind == SAME and by_a == by_b else gr.skip()

    @guarded
    def swap(self, kind: str, at_a: float, at_b: float) -> Updates:
        """Show what belongs to a contest of that kind, and hide the rest."""
        at_b = _layer_of_b(self.studio, kind, at_a, at_b)
        return {**self.seen(kind), self.b.layer: gr.Slider(value=at_b, visible=kind == DIFFERENT)}

    def seen(self, kind: str) -> Updates:
        """Updates that show what belongs to a contest of that kind, and hide the rest."""
        vectors = kind in (SAME, DIFFERENT)
        return {
            self.b.layer: gr.Slider(visible=kind == DIFFERENT),
            self.b.multiplier: gr.Slider(visible=vectors),
            self.equal: gr.Button(visible=vectors),
            self.costly: gr.Button(visible=vectors),
            self.told: gr.Textbox(visible=kind == TOLD),
            self.begins: gr.Textbox(visible=kind == BEGUN),
        }

    def _wanted(self, session: Session, name: str) -> Updates:
        """A vector of one's own speaks as A."""
        layer, _ = recommended(self.studio, name, session)
        return {self.a.vector: gr.Dropdown(vector_choices(session), value=name), self.a.layer: layer}

    def _chosen(self, values: Sequence[Any]) -> Chosen:
        return Chosen.of(dict(zip(self.parts, values, strict=True)))


def names_of(chosen: Chosen) -> tuple[str, str, str]:
    """What A, B and both are called."""
    words = {TOLD: "the prompt", BEGUN: "the words"}
    a, b = (visible(name or "")[:LONGEST] for name in (chosen.vector_a, words.get(chosen.kind, chosen.vector_b)))
    return f"A: {a}", f"B: {b}", f"Both: {a} + {b}"


def _in_one_line(chosen: Chosen) -> str:
    """What is chosen, as HTML."""
    a, b, _ = names_of(chosen)
    strength = f" × {chosen.multiplier_b:g}" if chosen.kind in (SAME, DIFFERENT) else ""
    layer, several = chosen.where("a")
    where = f"layers {visible(several)}" if several else f"layer {layer:g}"
    said = f"{a} × {chosen.multiplier_a:g} · {b}{strength} · {where}"
    return html.escape(said, quote=False)


def _measured_on() -> tuple[dict[str, Component], gr.Button]:
    """Whose answers the two voices are measured on, and whether it is asked if they are more than a sum; and a button
    that makes both cost the same.
    """
    with gr.Accordion("What is measured", open=False, elem_id="compete-measured-on"):
        choices = [(f"{name} against {preset.opposes}", name) for name, preset in presets().items()]
        look = {"minimum": 0, "maximum": 2 * FEWEST, "step": FEWEST, "elem_id": "compete-verdict-second-voices"}
        found: dict[str, Component] = {
            "contest": gr.Dropdown(
                choices, value=FIRST[0], label="Answers of A and of B", elem_id="compete-verdict-contest"
            ),
            "file": file_picker("or yours: prompt, a, b", "compete-verdict-file"),
            "second_voices": control(ContestRequest, "second_voices", **look),
        }
        return found, gr.Button("Make B cost what A costs", size="sm", elem_id="compete-equal-cost")


def _operations() -> dict[str, Component]:
    """What is done with each vector, and at which layers in place of the one."""
    infos = (OPERATION.info, None)  # said once
    operations = {
        name: component(OPERATION, label=label, info=info, elem_id=f"compete-{name.replace('_', '-')}")
        for (name, label), info in zip(OPERATIONS.items(), infos, strict=True)
    }
    spreads = {
        name: gr.Textbox("", label=label, info=info, elem_id=f"compete-{name.replace('_', '-')}")
        for (name, label), info in zip(SPREADS.items(), (SPREAD, None), strict=True)
    }
    return {**operations, **spreads, "shares": component(SHARES, elem_id="compete-shares")}


def _controls(studio: Studio, letter: str, first: str, layer: int) -> VoiceControls:
    controls = voice_controls(studio, f"Voice {letter}", f"compete-{letter.lower()}", first, (layer, 1.0))
    controls.layer.visible = letter == "A"  # at the same layer there is one
    return controls


def _layer_of_b(studio: Studio, kind: str, at_a: float, at_b: float) -> int:
    """The layer of B's slider: its own, where that is another than A's or may be the same."""
    at_a, at_b = whole(at_a, "The layer"), whole(at_b, "The layer")
    if kind != DIFFERENT or at_a != at_b:
        return at_b
    above = at_a + APART
    return above if above < studio.model.num_layers else max(0, at_a - APART)


def _table(a: Voice, b: Voice) -> str:
    """What the two come to, and the decomposition in numbers, folded."""
    parts: Decomposition = decompose(a, b)
    rows = [
        ("norm of what is added", *(_added(voice) for voice in (a, b))),
        ("relative strength", *(_number(voice.relative_strength) for voice in (a, b))),
    ]
    if apart := less_shared(a, b):
        rows.append(("of what sets them apart", *(_number(voice.relative_strength) for voice in apart)))
    lines = [markdown_table(["", f"A: {plain(a.name)}", f"B: {plain(b.name)}"], rows), ""]
    lines.append(f"Cosine between A and B: **{parts.cosine:.2f}**. {SHARING if parts.cosine > AGREES else ''}")
    if parts.remains is not None and parts.norm_a and parts.norm_b:
        lines.append(f"\nTogether: norm {parts.sum_norm:.1f}, **{parts.remains:.0%}** of both strengths added.")
        if a.steer.multiplier != b.steer.multiplier:  # else all of it is S, whatever the two are
            lines.append(
                f"\nThe sum is (a + b)·S + (a − b)·O, with S what A and B share and O where they oppose: "
                f"{parts.shared:.0%} and {parts.opposed:.0%} of the squared norms."
            )
    return folded(f"**{parts.verdict}**", "\n".join(lines), "In numbers")


def _table_beside_words(a: Voice, said: str) -> str:
    rows = [("norm of what is added", _added(a)), ("relative strength", _number(a.relative_strength))]
    return folded(f"**{said}**", markdown_table(["", f"A: {plain(a.name)}"], rows), "In numbers")


def _added(voice: Voice) -> str:
    """The norm of what a voice adds."""
    steer = voice.steer
    return f"{abs(steer.multiplier) * steer.vector.norm():.1f}" if steer.operation.is_sum else str(steer.operation)


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"

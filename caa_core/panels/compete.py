"""Compete: two vectors at once, beside each alone; and before anything is computed, what their sum is."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import gradio as gr
from gradio.events import Dependency

from caa_core.competition import Decomposition, Voice, decompose, same_strength
from caa_core.errors import InputError
from caa_core.model import SteerableModel
from caa_core.panels.common import (
    MULTIPLIERS,
    guarded,
    layer_slider,
    misfits,
    multiplier_slider,
    plain,
    recommended,
    vector_picker,
)
from caa_core.panels.conversation import Conversation, Voices
from caa_core.presets import presets
from caa_core.progress import Progress
from caa_core.service import Studio
from caa_core.sessions import Session

FIRST = ("joy", "gloom")


def build(tab: gr.Tab, studio: Studio, entered: Dependency) -> tuple[list[gr.Dropdown], list[gr.Slider]]:
    """Draw the tab. Returns its vector pickers and layer sliders, which change with the session and the model."""
    labels = {"unsteered": "Unsteered", "a": "A alone", "b": "B alone", "both": "A and B together"}
    conversation = Conversation(studio, "compete", labels, presets()[FIRST[0]].prompts)
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            # Both begin at one layer, where the decomposition has something to say, and weak enough for their sum.
            layer, _ = recommended(studio, FIRST[0])
            with gr.Row():
                a, b = (_controls(studio, *voice, layer, 1.0) for voice in zip("AB", FIRST, strict=True))
            equal = gr.Button("Give B the relative strength of A", size="sm", elem_id="compete-equal")
            conversation.settings()
        with gr.Column(scale=1, min_width=320):
            table = gr.Markdown(elem_id="compete-decomposition", container=True)
    conversation.columns()
    chosen = [*a, *b]
    conversation.wire(entered, lambda *values: _voices(studio, *values), chosen)

    @guarded
    def explain(request: gr.Request, *values: str | float) -> Iterator[str]:
        session = studio.session(request.session_hash)
        job = studio.run(lambda model: _pair(studio, model, session, *values))
        for progress in session.follow("compete-explain", job):
            yield f"Making the vectors: {progress}"
        if job.stopped:
            return
        try:
            yield _table(*job.result)
        except InputError as error:  # a layer on the way of the slider is no mistake to shout about
            yield plain(str(error))

    @guarded
    def balance(request: gr.Request, *values: str | float) -> float:
        session = studio.session(request.session_hash)
        job = studio.run(lambda model: _pair(studio, model, session, *values))
        multiplier = same_strength(*job.wait())
        if multiplier is None:
            raise InputError(
                "One of the vectors does not say its residual norms, so their strengths cannot be compared."
            )
        if abs(multiplier) > MULTIPLIERS["maximum"]:
            raise InputError(f"B would need a multiplier of {multiplier:.1f}, which is out of range; weaken A first.")
        return round(multiplier, 1)

    @guarded
    def start(request: gr.Request, name: str) -> tuple[int, float]:
        return recommended(studio, name, studio.session(request.session_hash))

    silent = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
    gr.on([tab.select, *(component.change for component in chosen)], explain, chosen, table, **silent)
    equal.click(balance, chosen, b.multiplier, **silent)
    for voice in (a, b):
        voice.vector.input(start, voice.vector, [voice.layer, voice.multiplier], **silent)
    return [a.vector, b.vector], [a.layer, b.layer]


@dataclass(frozen=True)
class Controls:
    """One voice's vector, layer and multiplier."""

    vector: gr.Dropdown
    layer: gr.Slider
    multiplier: gr.Slider

    def __iter__(self) -> Iterator[gr.components.Component]:
        return iter((self.vector, self.layer, self.multiplier))


def _controls(studio: Studio, letter: str, first: str, layer: int, multiplier: float) -> Controls:
    prefix = f"compete-{letter.lower()}"
    with gr.Column(min_width=220):
        return Controls(
            vector_picker(f"Voice {letter}", first, f"{prefix}-vector"),
            layer_slider(studio, layer, f"{prefix}-layer"),
            multiplier_slider(multiplier, f"{prefix}-multiplier"),
        )


def _pair(
    studio: Studio,
    model: SteerableModel,
    session: Session,
    *values: str | float,
) -> Generator[Progress, None, tuple[Voice, Voice]]:
    """The two voices that six values of the controls stand for."""
    name_a, layer_a, multiplier_a, name_b, layer_b, multiplier_b = values
    vector_a = yield from studio.vector(model, session, name_a)
    vector_b = yield from studio.vector(model, session, name_b)
    a = Voice(vector_a, int(layer_a), float(multiplier_a))
    b = Voice(vector_b, int(layer_b), float(multiplier_b))
    if vector_a.hidden_size != vector_b.hidden_size:
        raise InputError("The two vectors belong to models of different hidden sizes and cannot be compared.")
    return a, b


def _voices(
    studio: Studio, model: SteerableModel, session: Session, *values: str | float
) -> Generator[Progress, None, Voices]:
    a, b = yield from _pair(studio, model, session, *values)
    steer_a, steer_b = a.steer(), b.steer()
    return Voices(
        [(), (steer_a,), (steer_b,), (steer_a, steer_b)], [decompose(a, b).verdict, *misfits(model, a.vector, b.vector)]
    )


def _table(a: Voice, b: Voice) -> str:
    """The decomposition in numbers, and what they say."""
    parts: Decomposition = decompose(a, b)
    rows = [
        ("‖multiplier · v‖", f"{parts.norm_a:.1f}", f"{parts.norm_b:.1f}"),
        ("relative strength", *(_number(voice.relative_strength) for voice in (a, b))),
    ]
    lines = ["| | A | B |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]
    lines.append(f"Cosine between A and B: **{parts.cosine:.2f}**. ")
    if parts.remains is not None and parts.norm_a and parts.norm_b:
        lines.append(
            f"Together: norm {parts.sum_norm:.1f}, **{parts.remains:.0%}** of both strengths added. The sum is "
            f"(a + b)·S + (a − b)·O, with S what A and B share and O where they oppose: {parts.shared:.0%} and "
            f"{parts.opposed:.0%} of the squared norms."
        )
    return "\n".join([*lines, "", f"**{parts.verdict}**"])


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"

"""Compete: two voices at once, beside each alone; and before anything is computed, what their sum is."""

from collections.abc import Generator, Iterator

import gradio as gr

from caa_core.app.panels.common import MULTIPLIERS, events, going, guarded, misfits, plain, recommended, vector_choices
from caa_core.app.panels.contest.contest import ContestPanel
from caa_core.app.panels.contest.surface import SurfacePanel
from caa_core.app.panels.contest.thinking import Thinking
from caa_core.app.panels.contest.tokens import TokenByToken
from caa_core.app.panels.contest.written import WhichVoice
from caa_core.app.panels.controls import VoiceControls, voice_controls
from caa_core.app.panels.conversation import Conversation, Voices
from caa_core.app.panels.page import Page, Tab
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.contest.decomposition import AGREES, Decomposition, decompose, same_strength, shared_part, without_shared
from caa_core.contest.voice import Voice
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.limits import PROMPT
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress

PANEL, FORM = "compete", "compete-form"
ABOUT = (
    "Two voices speak to the model at once. Choose them and **write** to see one answer under each and under both; "
    "then **measure** over many prompts which voice it follows, and **think** to see whether reasoning changes that."
)
FIRST = ("joy", "gloom")
SAME, DIFFERENT = "Same layer", "Different layers"
TOLD, BEGUN = "Vector against prompt", "Vector against words"
KINDS = {
    SAME: "Two vectors at one layer are one sum: what is left of them is known before anything is computed.",
    DIFFERENT: "Two vectors at different layers are not one sum: what comes of both has to be tried.",
    TOLD: "Voice A is a vector. Voice B is what the model is told before your prompt.",
    BEGUN: "Voice A is a vector. Voice B is how the answer already begins, and the model goes on from there.",
}
NO_SUM = {
    TOLD: "A vector against a prompt is no sum: what comes of both has to be tried.",
    BEGUN: "A vector against words is no sum: what comes of both has to be tried. A is added where the answer's words "
    "are read, and to all that follows.",
}
SHARING = (
    "Even opposite behaviours share much where both were made against the same plain answers: what sets both apart "
    "from these. "
)
# B begins so many layers above A where they are to speak at different ones.
APART = 6
BOTH = "both"


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    studio, entered = page.studio, page.entered
    labels = {
        "unsteered": "Unsteered",
        "a": "A alone",
        "b": "B alone",
        BOTH: "A and B together",
        "shared": "Only what both share",
    }
    prompts = presets()[FIRST[0]].prompts
    conversation = Conversation(studio, PANEL, labels, prompts, list(labels).index(BOTH), thinks=True)
    gr.Markdown(ABOUT)
    kind = gr.Radio(list(KINDS), value=SAME, label="Kind of contest", info=KINDS[SAME], elem_id="compete-kind")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            # Both begin at one layer, where the decomposition has something to say, and weak enough for their sum.
            layer, _ = recommended(studio, FIRST[0])
            with gr.Row():
                a, b = (_controls(studio, *voice, layer, 1.0) for voice in zip("AB", FIRST, strict=True))
            told, begins = (
                gr.Textbox(words, label=label, lines=2, visible=False, elem_id=elem_id)
                for words, label, elem_id in (
                    (presets()[FIRST[1]].told, "What the model is told (voice B)", "compete-told"),
                    (presets()[FIRST[1]].begins, "How the answer begins (voice B)", "compete-begins"),
                )
            )
            apart = gr.Checkbox(False, label="Without what both share", visible=False, elem_id="compete-apart")
            equal = gr.Button("Give B the relative strength of A", size="sm", elem_id="compete-equal")
            conversation.settings()
        with gr.Column(scale=2, min_width=300):
            table = gr.Markdown(elem_id="compete-decomposition", container=True)
    conversation.columns()

    def prepare(*values):
        return _sides(studio, *values)

    shared = conversation.chatbots[-1]
    shared.visible = False  # at equal multipliers it is the same thing as both
    tokens = TokenByToken(studio)
    tokens.draw()
    verdict = ContestPanel(studio)
    verdict.draw(FIRST[0])
    chosen = [*a, *b, kind, told, begins, apart]
    voices = {
        "vector_a": a.vector,
        "layer_a": a.layer,
        "multiplier_a": a.multiplier,
        "vector_b": b.vector,
        "layer_b": b.layer,
        "multiplier_b": b.multiplier,
        "kind": kind,
        "told": told,
        "begins": begins,
        "apart": apart,
    }
    system, positions, *_ = conversation.common
    contest = {"contest": verdict.contest, "file": verdict.file, "system": system, "positions": positions}
    sliders = [kind, a.layer, b.layer, a.multiplier, b.multiplier]
    SurfacePanel(page, prepare, voices, contest, (SAME, DIFFERENT), sliders)
    written = WhichVoice(studio)
    written.draw(FIRST[0])
    thinking = Thinking(studio)
    thinking.draw()
    conversation.wire(entered, lambda *values: _voices(studio, *values), chosen)

    tokens.wire(entered, conversation, lambda *values: _readers(studio, *values), chosen)
    verdict.wire(entered, prepare, chosen, system, positions)
    written.wire(entered, prepare, lambda *values: _readers(studio, *values), chosen, system, positions)
    thinking.wire(entered, prepare, chosen, verdict, system, positions)

    @guarded
    def explain(request: gr.Request, *values: str | float) -> Iterator[dict]:
        session = studio.session(request.session_hash)
        job = studio.run(lambda model: _contestants(studio, model, session, *values))
        offered = {apart: gr.Checkbox(visible=_may_part(*values)), shared: gr.Chatbot(visible=False)}
        try:
            for progress in events(session, "compete-explain", job):
                yield {table: going("Making the vectors", progress)}
            if job.stopped:
                return
            first, second = job.result
            if second.vector:
                offered[shared] = gr.Chatbot(visible=shared_part(first, second) is not None)
                yield {**offered, table: _table(first, second)}
            else:
                yield {**offered, table: _table_beside_words(first, NO_SUM[values[6]])}
        except InputError as error:  # a slider or a text on its way is no mistake to shout about
            yield {**offered, table: plain(str(error))}

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
    def follow_a(request: gr.Request, name: str, at_b: float, kind: str) -> list:
        """A preset brings its layer, its opposite as B, and the answers of the two."""
        start, _ = recommended(studio, name, studio.session(request.session_hash))
        if name not in presets():
            return [start, *[gr.skip()] * 5]
        other = presets()[presets()[name].opposes]
        return [start, other.name, _layer_of_b(studio, kind, start, at_b), other.told, other.begins, name]

    @guarded
    def follow_b(name: str) -> tuple:
        return (presets()[name].told, presets()[name].begins) if name in presets() else (gr.skip(), gr.skip())

    @guarded
    def swap(kind: str, at_a: float, at_b: float) -> list:
        """Show what belongs to a contest of that kind, and hide the rest."""
        vectors = kind in (SAME, DIFFERENT)
        return [
            gr.Radio(info=KINDS.get(kind, "")),
            gr.Slider(value=_layer_of_b(studio, kind, at_a, at_b), visible=kind == DIFFERENT),
            gr.Slider(visible=vectors),
            gr.Button(visible=vectors),
            gr.Textbox(visible=kind == TOLD),
            gr.Textbox(visible=kind == BEGUN),
        ]

    @guarded
    def restore(request: gr.Request) -> list:
        session = studio.session(request.session_hash)
        kept = session.person.results.get(FORM)
        if not isinstance(kept, list) or len(kept) != len(chosen) or kept[6] not in KINDS:
            return [gr.skip()] * len(chosen)
        choices = vector_choices(session)
        kept = [*kept]
        for place in (0, 3):
            kept[place] = gr.Dropdown(choices, value=kept[place])
        return kept

    silent = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
    page.restore(restore, chosen)
    changes = [tab.select, *(component.change for component in chosen)]
    gr.on(changes, explain, chosen, [table, apart, shared], **silent)
    equal.click(balance, chosen, b.multiplier, **silent)
    kind.change(swap, [kind, a.layer, b.layer], [kind, b.layer, b.multiplier, equal, told, begins], **silent)
    brought = [a.layer, b.vector, b.layer, told, begins, verdict.contest]
    a.vector.input(follow_a, [a.vector, b.layer, kind], brought, **silent)
    b.vector.input(follow_b, b.vector, [told, begins], **silent)
    return Tab([a.vector, b.vector], [a.layer, b.layer])


def _controls(studio: Studio, letter: str, first: str, layer: int, multiplier: float) -> VoiceControls:
    with gr.Column(min_width=220):
        controls = voice_controls(studio, f"Voice {letter}", f"compete-{letter.lower()}", first, (layer, multiplier))
        controls.layer.visible = letter == "A"  # at the same layer there is one
        return controls


def _layer_of_b(studio: Studio, kind: str, at_a: float, at_b: float) -> int:
    """The layer of B's slider: its own, where that is another than A's or may be the same."""
    at_a, at_b = whole(at_a, "The layer"), whole(at_b, "The layer")
    if kind != DIFFERENT or at_a != at_b:
        return at_b
    above = at_a + APART
    return above if above < studio.model.num_layers else max(0, at_a - APART)


def _may_part(*values: str | float) -> bool:
    """Whether the two may be tried without what they share: of one sum at equal multipliers nothing would be left."""
    kind = values[6]
    return kind == DIFFERENT or (kind == SAME and values[2] != values[5])


def _pair(
    studio: Studio,
    model: SteerableModel,
    session: Session,
    *values: str | float,
) -> Generator[Progress, None, tuple[Voice, Voice]]:
    """The two voices that the values of the controls stand for, where both are vectors."""
    name_a, layer_a, multiplier_a, name_b, layer_b, multiplier_b, kind, _, _, apart = values
    vector_a = yield from studio.vector(model, session, name_a)
    vector_b = yield from studio.vector(model, session, name_b)
    a = Voice.of(vector_a, int(layer_a), float(multiplier_a))
    b = Voice.of(vector_b, int(layer_b if kind == DIFFERENT else layer_a), float(multiplier_b))
    if vector_a.hidden_size != vector_b.hidden_size:
        raise InputError("The two vectors belong to models of different hidden sizes and cannot be compared.")
    return without_shared(a, b) if apart and _may_part(*values) else (a, b)


def _contestants(
    studio: Studio, model: SteerableModel, session: Session, *values: str | float
) -> Generator[Progress, None, tuple[Voice, Voice]]:
    """Voice A; and voice B, or the words that are in its place."""
    name, layer, multiplier, *_, kind, told, begins, _ = values
    if kind in (SAME, DIFFERENT):
        return (yield from _pair(studio, model, session, *values))
    words = ((told if kind == TOLD else begins) or "").strip()
    if not words:
        raise InputError("Write what the model is told, or how its answer begins: these words are voice B.")
    PROMPT.check(len(words))
    vector = yield from studio.vector(model, session, name)
    other = Voice("the prompt", system=words) if kind == TOLD else Voice("the words", prefill=words)
    return Voice.of(vector, int(layer), float(multiplier)), other


def _readers(
    studio: Studio, model: SteerableModel, session: Session, *values: str | float
) -> Generator[Progress, None, list[Voice]]:
    """The vectors along which an answer is read: those of the voices; for words, that of B's name at A's layer."""
    name_b, kind = values[3], values[6]
    a, b = yield from _contestants(studio, model, session, *values)
    if b.vector:
        return [a, b]
    vector = yield from studio.vector(model, session, name_b)
    fits = vector.hidden_size == a.vector.hidden_size and a.steer.layer in vector.layers
    return [a, Voice.of(vector, a.steer.layer, 1.0)] if kind in (TOLD, BEGUN) and fits else [a]


def _voices(
    studio: Studio, model: SteerableModel, session: Session, *values: str | float
) -> Generator[Progress, None, Voices]:
    a, b = yield from _contestants(studio, model, session, *values)
    session.person.remember(FORM, list(values))
    steers = [(), a.steers, b.steers, a.steers + b.steers]
    if not b.vector:
        notes = [NO_SUM[values[6]], *misfits(model, a.vector)]
        return Voices(steers, notes, ["", "", b.system, b.system], ["", "", b.prefill, b.prefill])
    if shared := shared_part(a, b):
        steers.append(shared.steers)
    return Voices(steers, [decompose(a, b).verdict, *misfits(model, a.vector, b.vector)])


def _sides(
    studio: Studio, model: SteerableModel, session: Session, *values: str | float
) -> Generator[Progress, None, tuple[Voice, Voice]]:
    voices = yield from _contestants(studio, model, session, *values)
    session.person.remember(FORM, list(values))
    return voices


def _table(a: Voice, b: Voice) -> str:
    """The decomposition in numbers, and what they say."""
    parts: Decomposition = decompose(a, b)
    rows = [
        ("norm of what is added", f"{parts.norm_a:.1f}", f"{parts.norm_b:.1f}"),
        ("relative strength", *(_number(voice.relative_strength) for voice in (a, b))),
    ]
    lines = [
        f"**{parts.verdict}**",
        "",
        f"| | A: {plain(a.name)} | B: {plain(b.name)} |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    lines.append(f"Cosine between A and B: **{parts.cosine:.2f}**. {SHARING if parts.cosine > AGREES else ''}")
    if parts.remains is not None and parts.norm_a and parts.norm_b:
        lines.append(
            f"Together: norm {parts.sum_norm:.1f}, **{parts.remains:.0%}** of both strengths added. The sum is "
            f"(a + b)·S + (a − b)·O, with S what A and B share and O where they oppose: {parts.shared:.0%} and "
            f"{parts.opposed:.0%} of the squared norms."
        )
    return "\n".join(lines)


def _table_beside_words(a: Voice, said: str) -> str:
    norm, strength = abs(a.steer.multiplier) * a.steer.vector.norm().item(), _number(a.relative_strength)
    heads = f"| | A: {plain(a.name)} |\n|---|---|"
    return f"**{said}**\n\n{heads}\n| norm of what is added | {norm:.1f} |\n| relative strength | {strength} |"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"

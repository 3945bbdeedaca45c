"""What the panels share: errors as sentences, stopping, and words about vectors."""

import functools
import html
import inspect
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, TypedDict

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.context import LocalContext
from gradio.events import Dependency

from caa_core.app.guards import visitor
from caa_core.app.sessions import Person, Running, Session, always
from caa_core.app.studio import Studio
from caa_core.data.presets import presets
from caa_core.data.text import UNSEEN
from caa_core.errors import InputError
from caa_core.limits import PROMPT, TOKENS
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, Waiting
from caa_core.reports.writing import Report, as_json, write
from caa_core.vectors.vector import SteeringVector

log = logging.getLogger("caa_core")

# Every update of a page costs its browser as much as a page is large, which may lie on the cores that write the text;
# and a bar is not read as text is.
SECONDS_BETWEEN_UPDATES = 0.25
SECONDS_BETWEEN_BARS = 0.5
MULTIPLIERS = {"minimum": -4, "maximum": 4, "step": 0.1}

# What a handler that gives only some of its outputs returns.
Updates = dict[Block, Any]


class Quiet(TypedDict):
    """How an event is wired that shows no progress of its own and is no endpoint."""

    show_progress: Literal["full", "minimal", "hidden"]
    show_progress_on: list[Component]
    api_visibility: Literal["public", "private", "undocumented"]


class Latest(Quiet):
    """The same for one of which, while it is worked on, the last that comes is not dropped but follows."""

    trigger_mode: Literal["always_last"]


# Hidden progress is written all the same: gradio's page copies each output of whatever event came before, with all that
# is inside it, at every message. On nothing, there is nothing to copy: making a vector cost the browser 6,300 copies.
QUIET: Quiet = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
LATEST: Latest = {**QUIET, "trigger_mode": "always_last"}


def properties(update: Any) -> dict[str, Any]:
    """What an update of a part sets, by name: what it was made with, or its value alone."""
    if isinstance(update, Block):
        return update.constructor_args
    if isinstance(update, dict) and update.get("__type__") == "update":
        return {name: value for name, value in update.items() if name != "__type__"}
    return {"value": update}


def added(first: Updates, more: Updates) -> Updates:
    """Updates of both; of two of one part the later adds to the earlier."""
    both = {
        part: gr.update(**{**properties(first[part]), **properties(update)}) if part in first else update
        for part, update in more.items()
    }
    return {**first, **both}


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """An event handler whose errors reach the page as one sentence, and leave everything on it as it was."""

    def fail(error: Exception) -> gr.Error:
        _without_locals(error)
        if isinstance(error, InputError):
            # A toast renders HTML, and the message may quote what a stranger wrote.
            said = html.escape(visible(str(error)[:500]), quote=False)
            return gr.Error(said, title="That did not work", print_exception=False)
        log.error("%s failed", handler.__qualname__, exc_info=error)
        message = "Something failed inside the app; it was logged. What you made is still here, so try again."
        return gr.Error(message, title="Our mistake", print_exception=False)

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise fail(error) from None

    @functools.wraps(handler)
    def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            with closing(handler(*args, **kwargs)) as updates:
                yield next(updates, gr.skip())  # of a generator without any, gradio empties all outputs
                yield from updates
        except Exception as error:
            raise fail(error) from None

    return iterate if inspect.isgeneratorfunction(handler) else call


def _without_locals(error: BaseException | None) -> None:
    """Free what was at hand where an error came up, such as a file's tensors, which would stay until the garbage
    collector finds them: the frames hold the error, and it them.
    """
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def events(session: Session, panel: str, job: Running, lasting: bool = False) -> Iterator[Any]:
    """Events of a job that the panel's Stop button ends, and the page's end too unless it is `lasting`."""
    return heard(session.follow(panel, job, lasting, is_wanted()))


def heard(come: Iterator[Any]) -> Iterator[Any]:
    """Events without those that come too fast to be seen."""
    shown, held = 0.0, None
    for held in come:
        pause = SECONDS_BETWEEN_BARS if isinstance(held, Progress) else SECONDS_BETWEEN_UPDATES
        if time.monotonic() - shown >= pause:
            yield held
            shown, held = time.monotonic(), None
    if held is not None:
        yield held


def is_wanted() -> Callable[[], bool]:
    """Tells whether whoever sent the event that is being handled still listens, and has not cancelled it."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    known = blocks._queue.event_ids_to_events if blocks and event_id else {}
    if event_id not in known:  # it did not come through the queue
        return always

    def wanted() -> bool:
        event = known.get(event_id)
        return bool(event and event.alive)

    return wanted


def say_gone(person: Person) -> None:
    """Say on the page what of a person's had to go for want of room, if that was not said yet."""
    if gone := list(dict.fromkeys(person.holdings.gone)):
        person.holdings.gone.clear()
        gr.Warning(
            f"There is more than this app keeps of one person's, or of all: the oldest had to make room, which was "
            f"{plain(', '.join(gone))}. Download what you need.",
            title="Memory is full",
        )


def busy(*buttons: gr.Button) -> dict:
    """Updates for the first of a handler's: these cannot be pressed while it runs. See `freed`."""
    return {button: gr.Button(interactive=False) for button in buttons}


def freed(event: Dependency, free: Callable[[], Updates]) -> None:
    """Let what was not to be pressed be pressed again, by the updates of `free`, when the event's handler has ended,
    however it did. `free` is called while the page is drawn, too, when a part that is made is a part of the page.
    """
    if parts := list(free()):
        for ended in (event.then, event.failure):  # the first of which gradio leaves out after an error
            ended(free, None, parts, queue=False, **QUIET)


def download_buttons(panel: str, names: dict[str, str]) -> dict[str, gr.DownloadButton]:
    """Buttons for a report in several formats, by ending; `names` is what each says."""
    return {
        ending: gr.DownloadButton(name, elem_id=f"{panel}-{ending[1:]}", elem_classes="file", size="sm", min_width=120)
        for ending, name in names.items()
    }


def report_downloads(buttons: dict[str, gr.DownloadButton], owner: Session | Person, report: Report) -> dict:
    """Updates of buttons by ending: each downloads the report in that format."""
    paths = {button: owner.path(report.name, ending) for ending, button in buttons.items()}
    for path in paths.values():
        write(report, path)
    return {button: gr.DownloadButton(value=str(path), interactive=True) for button, path in paths.items()}


def json_download(owner: Session | Person, name: str, data: Any) -> gr.DownloadButton:
    """Update of a button: it downloads plain data as a JSON file of that name."""
    path = owner.path(name, ".json")
    path.write_text(as_json(data, indent=1), encoding="utf-8")
    return gr.DownloadButton(value=str(path), interactive=True, visible=True)


def stopper(studio: Studio, panel: str) -> Callable[[gr.Request], None]:
    """Handler of a panel's Stop button."""

    @guarded
    def stop(request: gr.Request) -> None:
        visitor(studio, request).stop(panel)

    return stop


def vector_choices(session: Session) -> list[tuple[str, str]]:
    """Vectors to choose from, as (label, name): one's own first, then the presets."""
    own = [(f"{name} (yours)", name) for name in reversed(session.vectors)]
    room = session.classroom
    return own + [(f"{name} (preset)", name) for name in (room.rules.presets if room else presets())]


def vector_picker(label: str, name: str, elem_id: str, render: bool = True) -> gr.Dropdown:
    """A choice among the vectors of the session and the presets."""
    return gr.Dropdown(vector_choices(Session()), value=name, label=label, elem_id=elem_id, render=render)


def layer_slider(studio: Studio, layer: int, elem_id: str, render: bool = True) -> gr.Slider:
    """The layer whose output a vector is added to."""
    deepest = studio.model.num_layers - 1
    return gr.Slider(0, deepest, layer, step=1, label="Layer", elem_id=elem_id, buttons=[], render=render)


def multiplier_slider(multiplier: float, elem_id: str, render: bool = True) -> gr.Slider:
    """What a vector is multiplied with."""
    return gr.Slider(
        MULTIPLIERS["minimum"],
        MULTIPLIERS["maximum"],
        multiplier,
        step=MULTIPLIERS["step"],
        label="Multiplier",
        elem_id=elem_id,
        buttons=[],
        render=render,
    )


def recommended(studio: Studio, name: str, session: Session | None = None) -> tuple[int, float]:
    """Layer and multiplier to begin with: the preset's, else a layer towards the middle that the vector has."""
    preset = presets().get(name)
    if preset and preset.model == studio.model.name:
        return preset.layer, preset.multiplier
    middle = studio.model.num_layers * 2 // 5
    own = session.vectors.get(name) if session else None
    return min(own.layers, key=lambda layer: abs(layer - middle)) if own else middle, 1.0


def check_request(prompt: str | None, system: str | None, tokens: float) -> None:
    """Raises InputError for a prompt or an answer that is longer than this app takes."""
    PROMPT.check(len(prompt or "") + len(system or ""))
    TOKENS.check(whole(tokens, "The number of new tokens"))


def check_fit(model: SteerableModel, vector: SteeringVector) -> None:
    """Raises InputError for a vector that cannot be added in this model."""
    check_width(model, vector)
    for layer in vector.layers:
        model.check_layer(layer)


def check_width(model: SteerableModel, vector: SteeringVector) -> None:
    """Raises InputError for a vector of another hidden size than the model's."""
    if vector.hidden_size != model.hidden_size:
        raise InputError(
            f"The vector '{vector.name}' has hidden size {vector.hidden_size} and {model.name} has "
            f"{model.hidden_size}: it was made on {vector.provenance.model or 'another model'}."
        )


def misfits(model: SteerableModel, *vectors: SteeringVector) -> list[str]:
    """Notes on vectors that were made on other weights, as Markdown."""
    return [
        f"Note: '{plain(vector.name)}' may not fit: {plain(difference)}."
        for vector in vectors
        for difference in vector.differences(model)
    ]


def bar(progress: Progress) -> str:
    """How far it has come, as Markdown."""
    return f'<progress max="1" value="{progress.fraction:.3f}"></progress><br>{progress}'


def shared_bar(studio: Studio, progress: Progress) -> str:
    """How far it has come, and with whom the model is shared, as Markdown."""
    return f"{bar(progress)}. {beside(studio)}"


def going(doing: str, progress: Progress) -> str:
    """What goes on and how far it has come, or that it has not begun, in one line."""
    return str(progress) if isinstance(progress, Waiting) else f"{doing}: {progress}"


def beside(studio: Studio) -> str:
    """Whom somebody whose job runs shares the model with."""
    others = studio.jobs - 1
    if others < 1:
        return ""
    return f"{others} other job{'s share' if others > 1 else ' shares'} the model."


def visible(text: str) -> str:
    """Text of somebody's own in one line, without what cannot be seen or turns the direction of the line."""
    return UNSEEN.sub("", re.sub(r"\s", " ", text))


def plain(text: str) -> str:
    """Text of somebody's own (names, files, fields) as Markdown that shows it letter by letter, and links nowhere."""
    text = re.sub(r"([\\`*_{}\[\]()#+!|<>~$&@-])", r"\\\1", visible(text))
    return re.sub(r"(:)(?=//)|(?<=\bwww)(\.)", r"\\\g<0>", text, flags=re.IGNORECASE)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of words as a table in Markdown."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(plain, row))} |" for row in rows)])


def strength(vector: SteeringVector, layer: int, multiplier: float) -> str:
    """Norm and relative strength of one addition, in words."""
    relative = vector.relative_strength(layer, multiplier)
    if relative is None:
        norm = abs(multiplier) * vector.norm(layer)
        return f"‖{multiplier:g} · v‖ is {norm:.1f}; the vector's file does not say how large the residual stream is."
    return (
        f"Relative strength **{relative:.2f}**: the push is {relative:.0%} of the model's own signal at layer {layer}."
    )

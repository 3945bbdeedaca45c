"""What the tabs of the page are built with, and what they give back."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.exceptions import Error

from caa_core.app.guards import visitor
from caa_core.app.panels.common import LATEST, QUIET, Updates, added, guarded, properties, vector_choices
from caa_core.app.panels.controls import VoiceControls
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio

# What to say of what is shown, by what a form holds.
Look = Callable[[Session, Sequence[Any]], Any]
# In place of a result: what somebody wants to go on with counts more than what they had.
WANTED = "wanted"
# And what the link says with which the page was opened counts more than either.
LINKED = "linked"


@dataclass(frozen=True)
class Restore:
    """Shows by `handler`, from what some parts hold, what the person had before a reload: the result `of` that name."""

    handler: Callable[..., Updates]
    inputs: Sequence[Component]
    outputs: Sequence[Block]
    of: str = ""


@dataclass(frozen=True)
class Watch:
    """Says in `place` by `look`, from what some parts hold, whether what is shown is what is chosen."""

    parts: Sequence[Component]
    place: Component
    look: Look


@dataclass(frozen=True)
class Tab:
    """What a tab shows of the session's vectors and of the model's layers."""

    pickers: Sequence[gr.Dropdown] = ()
    layers: Sequence[gr.Slider] = ()

    @classmethod
    def together(cls, tabs: "Iterable[Tab]") -> "Tab":
        """Several as one."""
        tabs = list(tabs)
        return cls([picker for tab in tabs for picker in tab.pickers], [layer for tab in tabs for layer in tab.layers])


@dataclass(frozen=True)
class Page:
    """The page around one studio, or a part of it that is drawn later.

    line: says which model is loaded, and so changes with the model. vectors: a state that changes with the session's
    list of vectors. steer: the controls of the Steer tab, which others fill in, and which it renders. news: a state of
    this part alone that changes with either; `told` are those of all parts. restores: what is shown again once it is
    known whose page it is. watches: what follows each choice. drawn: changes when a part is to be drawn anew.
    """

    studio: Studio
    blocks: gr.Blocks
    line: gr.Markdown
    vectors: gr.State
    steer: VoiceControls
    news: gr.State
    told: list[gr.State] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    drawn: gr.State | None = None

    def session(self, request: gr.Request) -> Session:
        """The session of who asks."""
        return visitor(self.studio, request)

    def part(self, drawn: gr.State | None = None) -> "Page":
        """For a part of the page that is drawn later, and anew whenever the number in `drawn` changes."""
        self.told.append(gr.State(0))
        return replace(self, news=self.told[-1], drawn=drawn)

    def drawn_now(self) -> "Page":
        """The same, for one visitor."""
        return replace(self, restores=[], watches=[])

    def tell(self) -> None:
        """Let all parts know when the vectors or the model change."""
        # Of an event of something outside of it, gradio lets only the part hear that was drawn last.
        all_parts, times = [self.news, *self.told], itertools.count(1)
        changes = [self.vectors.change, self.line.change]
        gr.on(changes, lambda: [next(times)] * len(all_parts), None, all_parts, **QUIET)

    def restore(self, handler: Callable[[gr.Request], Updates], outputs: Sequence[Block], of: str = "") -> None:
        """Show by `handler` what the person had before a reload; `of` names the result that it shows."""
        self.restores.append(Restore(handler, (), outputs, of))

    def watch(self, parts: Sequence[Component], place: Component, look: Look) -> None:
        """Say by `look` in a place whether what is shown is what is chosen, whenever one of the parts changes."""
        self.watches.append(Watch(parts, place, look))

    def take_up(self, tab: str, fill: Callable[[Session, str], Updates], outputs: Sequence[Block]) -> None:
        """Fill in by `fill` the vector that is wanted in the tab of this name, once the tab is there."""

        @guarded
        def taken(request: gr.Request) -> Updates:
            session = self.session(request)
            name = session.wanted.pop(tab, "")
            return fill(session, name) if name in session.vectors else {outputs[0]: gr.skip()}

        self.news.change(taken, None, list(outputs), **QUIET)
        self.restores.append(Restore(taken, (), outputs, WANTED))

    def take_settings(
        self, name: str, fill: Callable[[Session, dict[str, Any]], Updates], outputs: Sequence[Block]
    ) -> None:
        """Fill in by `fill` what the experiment of this name is to be asked, once it is there, if anything."""

        @guarded
        def filled(request: gr.Request) -> Updates:
            session = self.session(request)
            settings = session.settings.pop(name, None)
            return (fill(session, settings) if settings else {}) or {outputs[0]: gr.skip()}

        self.news.change(filled, None, list(outputs), **QUIET)
        self.restores.append(Restore(filled, (), outputs, WANTED))

    def looks(self, look: Look) -> Callable[..., Any]:
        """The handler of an event of `look`."""

        @guarded
        def looking(request: gr.Request, *values: Any) -> Any:
            return look(self.session(request), values)

        return looking

    def latest(
        self,
        changes: Sequence[Callable[..., Any]],
        handler: Callable[..., Any],
        parts: Sequence[Component],
        places: Sequence[Block],
        **wiring: Any,
    ) -> None:
        """Let a handler, which takes the request first, say in some places what some parts come to, whenever one of
        `changes` happens. One choice changes several parts, and what was asked for by the first change may come last:
        it is not shown over what came of a later one.
        """
        asked = gr.Number(visible=False)  # when the browser asked, in ms since it opened the page

        def is_late(request: gr.Request, when: float | None) -> bool:
            known = self.session(request).asked
            known[asked._id] = latest = max(when or 0.0, known.get(asked._id, 0.0))
            return when is not None and when < latest

        @guarded
        def once(request: gr.Request, *values: Any) -> Any:
            *held, when = values
            return {places[0]: gr.skip()} if is_late(request, when) else handler(request, *held)

        @guarded
        def several(request: gr.Request, *values: Any) -> Iterator[Any]:
            *held, when = values
            updates = iter(()) if is_late(request, when) else handler(request, *held)
            yield from itertools.takewhile(lambda _: not is_late(request, when), updates)

        called = several if inspect.isgeneratorfunction(handler) else once
        called.__name__ = handler.__name__
        now = "(...values) => [...values.slice(0, -1), performance.now()]"
        gr.on(changes, called, [*parts, asked], list(places), js=now, **wiring, **LATEST)

    def watching(self) -> None:
        """Let all that is watched be looked at, by one event of all parts."""
        parts = list(dict.fromkeys(part for watch in self.watches for part in watch.parts))

        def look(request: gr.Request, *values: Any) -> Updates:
            return self._looked(self.session(request), dict(zip(parts, values, strict=True)))

        if parts:
            changes = [part.change for part in parts]  # type: ignore[attr-defined]  # all parts of forms have it
            self.latest(changes, look, parts, [watch.place for watch in self.watches], queue=False)

    def _looked(self, session: Session, held: Mapping[Any, Any]) -> Updates:
        return {watch.place: watch.look(session, [held[part] for part in watch.parts]) for watch in self.watches}

    def attach(self, tab: Tab) -> None:
        """Let what a tab shows follow the vectors and the model: choices, and sliders that end with its layers."""
        shown: list[Component] = [*tab.pickers, *tab.layers]

        @guarded
        def refresh(request: gr.Request, *values: float) -> Updates:
            choices, deepest = vector_choices(self.session(request)), self.studio.model.num_layers - 1
            return {
                **{picker: gr.Dropdown(choices) for picker in tab.pickers},
                # A value that fits is the person's, who may be moving it just now.
                **{
                    slider: gr.Slider(maximum=deepest, value=deepest) if value > deepest else gr.Slider(maximum=deepest)
                    for slider, value in zip(tab.layers, values, strict=True)
                },
            }

        if shown:
            self.news.change(refresh, list(tab.layers), shown, **QUIET)
            self.restores.insert(0, Restore(refresh, tab.layers, shown))

    def restored(self) -> Restore:
        """All of `restores` in one: of two that write to one part the later adds to the earlier, and what cannot be
        shown is said and keeps nothing else from being shown.
        """
        inputs = list(dict.fromkeys(part for one in self.restores for part in one.inputs))
        shown: list[Block] = [part for one in self.restores for part in one.outputs]
        outputs = list(dict.fromkeys([*shown, *(watch.place for watch in self.watches)]))

        def restore(request: gr.Request, *values: Any) -> Updates:
            held, updates = dict(zip(inputs, values, strict=True)), Updates()
            session = self.session(request)
            # Of settings that several share, those of the last result count.
            order = {name: number for number, name in enumerate([*session.person.results, WANTED, LINKED])}
            for one in sorted(self.restores, key=lambda one: order.get(one.of, -1)):
                try:
                    found = one.handler(request, *(held[part] for part in one.inputs))
                except Error as error:
                    gr.Warning(error.message, title=error.title)
                    continue
                updates = added(updates, found)
            return {**updates, **self._looked(session, _Held(updates))}

        return Restore(restore, inputs, outputs)


class _Held(dict[Block, Any]):
    """What parts hold once some have been updated."""

    def __missing__(self, part: Block) -> Any:
        return getattr(part, "value", None)

    def __init__(self, updates: Updates):
        changed = {part: properties(update) for part, update in updates.items()}
        super().__init__({part: update["value"] for part, update in changed.items() if "value" in update})


class Build(Protocol):
    """Draws a tab's content, inside of it."""

    def __call__(self, page: Page, tab: gr.Tab) -> Tab: ...


def draw_tabs(page: Page, tabs: Iterable[tuple[str, str, Build]]) -> Tab:
    """Draw tabs, each by its title, its element id and what draws its content."""
    drawn = []
    for title, name, build in tabs:
        with gr.Tab(title, id=name) as tab:
            drawn.append(build(page, tab))
    return Tab.together(drawn)

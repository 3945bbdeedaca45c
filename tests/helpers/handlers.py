"""The page's handlers, called as gradio calls them, without a browser."""

import contextvars
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import gradio as gr
from gradio.blocks import Block, BlockFunction, BlocksConfig
from gradio.context import LocalContext
from gradio.state_holder import SessionState
from pydantic import BaseModel

from app import build
from caa_core.app.panels.experiment import Experiment
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio


class Handlers:
    """The page of one person: its parts by element id, and its handlers by their names and what they write to.

    A tab is opened when one of its parts is first asked for. Parts hold what the page begins with, and then what
    handlers have written to them.
    """

    def __init__(self, studio: Studio, page: gr.Blocks | None = None, name: str = "page"):
        self.studio, self.page = studio, page or build(studio)
        self.request = gr.Request(session_hash=name)
        self.blocks = SessionState(self.page).blocks_config
        self.parts = Parts(self.page, self.blocks, self.request)
        self.held: dict[Block, Any] = {}
        self.properties: defaultdict[Block, dict[str, Any]] = defaultdict(dict)

    @property
    def session(self) -> Session:
        return self.studio.session(self.request.session_hash)

    def reloaded(self) -> "Handlers":
        """The page anew, of the same person; in tabs that are drawn at once they find what they had by `restore`."""
        return Handlers(self.studio, self.page, self.request.session_hash)

    def handler(self, name: str, output: str, inputs: Iterable[Block] = ()) -> BlockFunction:
        """The handler of that name that takes some parts and writes to one, whatever calls it."""
        part = self.parts[output]

        def found() -> list[BlockFunction]:
            of_name = [fn for fn in self.blocks.fns.values() if fn.name == name and fn.trigger_mode != "multiple"]
            return [fn for fn in of_name if part in fn.outputs and {*inputs} <= {*fn.inputs}]

        self.parts.open_for(f"{name} to {output}", lambda: bool(found()))
        assert len({fn.fn for fn in found()}) == 1
        return found()[0]

    def after(self, button: str, failed: bool = False) -> list[BlockFunction]:
        """What follows the handler of a button on its end, or after an error."""
        part, functions = self.parts[button], self.blocks.fns.values()
        (first,) = (fn._id for fn in functions if (part._id, "click") in fn.targets)
        return [fn for fn in functions if fn.trigger_after == first and fn.trigger_only_on_failure == failed]

    def call(self, name: str, output: str, **values: Any) -> Any:
        """Call it with what the page holds, but `values` by element id. Gives what the handler gives."""
        changed = {self.parts[key.replace("_", "-")]: value for key, value in values.items()}
        fn = self.handler(name, output, changed)
        given = [changed.get(part, self.held.get(part, getattr(part, "value", None))) for part in fn.inputs]
        asking = [self.request] if "request" in inspect.signature(fn.fn).parameters else []
        found = fn.fn(*asking, *given)
        if inspect.isgenerator(found):
            return self._each(found, fn.outputs)
        self._hold(found, fn.outputs)
        return found

    def run(self, name: str, output: str, **values: Any) -> list[Any]:
        """All updates of a handler that gives several."""
        return list(self.call(name, output, **values))

    def experiment(self, name: str) -> Experiment:
        """What the page can run, by name."""
        self.parts.open_for(f"experiment {name}", lambda: name in self._drawn())
        return self._drawn()[name]

    @property
    def experiments(self) -> dict[str, Experiment]:
        """All that the page can run, by name, every tab of it."""
        self.parts.open_all()
        return self._drawn()

    def _drawn(self) -> dict[str, Experiment]:
        owners = [getattr(fn.fn, "__self__", None) for fn in self.blocks.fns.values()]
        return {one.name: one for one in owners if isinstance(one, Experiment)}

    def start(self, experiment: Experiment) -> Iterator[dict]:
        """Start it as its button does, and do what follows its end, however it ends. Gives its updates."""
        (first, *_) = (fn for fn in self.blocks.fns.values() if fn.fn == experiment.run)
        failed = False
        try:
            yield from self._called(first)
        except gr.Error:
            failed = True
        for fn in [*self.blocks.fns.values()]:
            if fn.trigger_after == first._id and fn.trigger_only_on_failure == failed:
                list(self._called(fn))

    def can_be_pressed(self, button: gr.Button) -> bool:
        """Whether the button is seen and enabled now."""
        now = {"interactive": button.interactive, "visible": button.visible, **self.properties[button]}
        return bool(now["visible"] and now["interactive"] in (True, None))

    def _called(self, fn: BlockFunction) -> Iterator[Any]:
        given = [self.held.get(part, getattr(part, "value", None)) for part in fn.inputs]
        asking = [self.request] if "request" in inspect.signature(fn.fn).parameters else []
        found = fn.fn(*asking, *given)
        if inspect.isgenerator(found):
            yield from self._each(found, fn.outputs)
        else:
            self._hold(found, fn.outputs)
            yield found

    def text(self, updates: Iterable[dict], part: str) -> Any:
        """What the last of some updates says in a part."""
        return [update[self.parts[part]] for update in updates if self.parts[part] in update][-1]

    def fill(self, section: str, label: str, value: Any) -> None:
        """Type into a part that has a label and no id of its own."""
        inside = self.parts[section]
        (part,) = (
            part
            for part in self.blocks.blocks.values()
            if getattr(part, "label", None) == label and inside in ancestors(part)
        )
        self.held[part] = value

    def __getitem__(self, part: str) -> Any:
        """The value that a part holds."""
        part = self.parts[part]
        return self.held.get(part, getattr(part, "value", None))

    def _each(self, updates: Iterable[Any], outputs: list[Block]) -> Iterable[Any]:
        for update in updates:
            self._hold(update, outputs)
            yield update

    def _hold(self, updates: Any, outputs: list[Block]) -> None:
        if not isinstance(updates, dict) or "__type__" in updates:
            updates = dict(zip(outputs, updates if len(outputs) > 1 else [updates], strict=False))
        assert updates.keys() <= {*outputs}, "gradio takes updates of a handler's outputs only"
        for part, update in updates.items():
            if isinstance(update, Block):
                update = {"__type__": "update", **update.constructor_args}
            if isinstance(update, dict) and update.get("__type__") == "update":
                self.properties[part].update(update)
                self.held[part] = update.get("value", self.held.get(part, getattr(part, "value", None)))
            else:
                self.held[part] = update


class Parts(dict[str, Block]):
    """Parts of a visitor's page by element id. Tabs are opened until the one that is asked for is there."""

    # In which tab something was found before, as every visitor's page has the same: that one is opened first.
    tabs: ClassVar[dict[str, int]] = {}

    def __init__(self, page: gr.Blocks, config: BlocksConfig, request: gr.Request):
        self.page, self.config, self.request = page, config, request
        self.closed = [*range(len(page.renderables))]
        self._note(config.blocks)

    def __missing__(self, name: str) -> Block:
        self.open_for(name, lambda: name in self)
        if name not in self:
            raise KeyError(name)
        return self[name]

    def open_for(self, sought: str, is_there: Callable[[], bool]) -> None:
        """Open tabs until what is sought is there, if it is in any."""
        while not is_there() and self.closed:
            known = self.tabs.get(sought)
            tab = known if known in self.closed else self.closed[0]
            self.open(tab)
            if is_there():
                self.tabs[sought] = tab

    def open(self, tab: int) -> None:
        before = {*self.config.blocks}
        contextvars.copy_context().run(_open, self.page, tab, self.config, self.request)
        self.closed.remove(tab)
        drawn = self.config.blocks.keys() - before
        self.tabs |= dict.fromkeys(self._note(drawn), tab)

    def open_all(self) -> None:
        for tab in [*self.closed]:
            self.open(tab)

    def _note(self, drawn: Iterable[int]) -> list[str]:
        new = {part.elem_id: part for part in map(self.config.blocks.get, drawn) if part and part.elem_id}
        self.update(new)
        return list(new)


def _open(page: gr.Blocks, tab: int, config: BlocksConfig, request: gr.Request) -> None:
    LocalContext.blocks_config.set(config)
    page.renderables[tab].apply(request)


def sent(part: Block, value: Any) -> Any:
    """A value as a part of the page gets it."""
    found = part.postprocess(value)
    return found.model_dump() if isinstance(found, BaseModel) else found


def ancestors(part: Block) -> Iterator[Block]:
    while part := part.parent:
        yield part

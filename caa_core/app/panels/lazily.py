"""Tabs whose content is drawn when it is first opened, so that the first page is light."""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import cache
from typing import Any

import gradio as gr
from gradio.blocks import Blocks
from gradio.components import FormComponent
from gradio.context import LocalContext, get_blocks_context

from caa_core.app.opening.introspection import remember
from caa_core.app.panels.common import QUIET, Updates, guarded, properties
from caa_core.app.panels.page import Build, Page, Tab

# Gradio counts its blocks without a lock, and drawing computes only.
_one_at_a_time = threading.Lock()
remember()


def lazily(build: Build, shown_in: gr.Tab | None = None) -> Build:
    """Let a tab's content be drawn when the tab is first opened, or the one around it in which it is seen first.

    It is drawn for each visitor with what they had before a reload. Others reach it only through the session.
    """

    def later(page: Page, tab: gr.Tab) -> Tab:
        opened = gr.State(0)
        part = page.part(opened)

        @guarded
        def open_once(request: gr.Request) -> Any:
            been = page.session(request).opened
            if tab._id in been:
                return gr.skip()
            been.add(tab._id)
            return 1

        # Through the queue: otherwise gradio does not look whether a state has changed. The state is no input: from
        # then on the browser would search the whole page for it at each message of any event.
        gr.on([one.select for one in (tab, shown_in) if one], open_once, None, opened, **QUIET)

        @gr.render(triggers=[opened.change], show_progress="hidden")
        def draw(request: gr.Request) -> None:
            with _one_at_a_time, _new_parts(page.blocks):
                drawn = part.drawn_now()
                drawn.attach(build(drawn, tab))
                drawn.watching()
                restored = drawn.restored()
                with _not_drawing():
                    updates = restored.handler(request, *(one.value for one in restored.inputs))
                show_at_first(updates)

        # Gradio has no argument for what `QUIET` says of other events.
        page.blocks.default_config.fns[max(page.blocks.default_config.fns)].show_progress_on = []
        return Tab()

    return later


def show_at_first(updates: Updates) -> None:
    """Let parts that were just made be drawn as updates say, which gradio would send to parts that are seen already."""
    for part, update in updates.items():
        if changed := properties(update):
            takes = _arguments(type(part).__init__)
            set_since = {name: getattr(part, name) for name in ("visible", "interactive") if name in takes}
            arguments = {**part.constructor_args, **set_since, **changed}
            made = type(part)(**{**arguments, "render": False})
            for name in takes:
                if hasattr(made, name):
                    setattr(part, name, getattr(made, name))
            part.constructor_args.update(changed)
            part.temp_files |= made.temp_files


@cache
def _arguments(constructor: Callable[..., None]) -> Mapping[str, inspect.Parameter]:
    """What a kind of part is made with, by name."""
    return inspect.signature(constructor).parameters


@contextmanager
def _not_drawing() -> Iterator[None]:
    """Let parts that are made inside, which say what to change of others, not be drawn themselves."""
    token = LocalContext.renderable.set(None)
    try:
        yield
    finally:
        LocalContext.renderable.reset(token)


@contextmanager
def _new_parts(page: Blocks) -> Iterator[None]:
    """Let what is drawn inside become a part of a visitor's page all at once: gradio goes through what a page has while
    it works on other events. And say of it what gradio finds out by itself only of a page's first parts: that they can
    be typed into. Of files that they show it keeps one list, not one of each visitor's part.
    """
    config = get_blocks_context()
    assert config
    drawing, lists = copy(config), len(page.temp_file_sets)
    token = LocalContext.blocks_config.set(drawing)
    try:
        yield
    finally:
        LocalContext.blocks_config.reset(token)
        del page.temp_file_sets[lists:]
    for part in [part for number, part in drawing.blocks.items() if number not in config.blocks]:
        page.upload_file_set |= part.temp_files
        part.temp_files = page.upload_file_set
        if isinstance(part, FormComponent | gr.File) and part.interactive is None:
            part.interactive = True
        config.blocks[part._id] = part
    config.fns, config.fn_id = drawing.fns, drawing.fn_id

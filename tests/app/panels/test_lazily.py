"""What is drawn at once, what is drawn when a tab is first opened, and how both show again what a person had."""

import gc
import inspect
import json
import typing
import weakref
from collections import Counter

import gradio as gr
import pytest
from gradio import component_meta
from gradio.state_holder import SessionState

from app import build
from caa_core.app.opening import introspection
from caa_core.app.panels.lazily import lazily, show_at_first
from caa_core.app.panels.page import Page, Tab, draw_tabs
from caa_core.app.panels.steer import tab as steer
from caa_core.app.studio import Studio
from tests.helpers.handlers import Handlers, Parts, ancestors


@pytest.fixture(scope="module")
def studio(tiny_folder):
    return Studio(tiny_folder, say=lambda _: None)


@pytest.fixture(scope="module")
def blocks(studio):
    return build(studio)


def opened(page):
    """A visitor's page with every tab opened."""
    page.parts.open_all()
    return page


def test_the_first_page_is_light(blocks):
    config = blocks.get_config_file()
    assert len(config["components"]) < 250
    assert len(json.dumps(config, default=str)) < 400_000


def test_gradio_reads_the_arguments_of_a_kind_of_part_once():
    read = component_meta.inspect.getfullargspec.cache_info
    gr.Textbox(render=False)
    before = read()
    gr.Textbox("again", render=False)
    assert read().misses == before.misses and read().hits > before.hits


def test_gradio_finds_out_once_what_handlers_take_and_what_a_browser_may_call(studio, blocks, monkeypatch):
    opened(Handlers(studio, blocks))
    asked, hints = [], typing.get_type_hints
    monkeypatch.setattr(typing, "get_type_hints", lambda fn: asked.append(fn) or hints(fn))
    listed = introspection._for_the_browser.cache_info()
    functions = opened(Handlers(studio, blocks)).blocks.fns
    drawn = [fn for number, fn in functions.items() if number not in blocks.fns and fn.fn]
    # What is made anew for each visitor, once each.
    assert len(asked) == len({*asked}) < len(drawn) / 2
    assert introspection._for_the_browser.cache_info().misses == listed.misses
    assert introspection._for_the_browser.cache_info().hits > listed.hits


def test_what_was_found_out_of_a_visitors_handler_goes_with_it():
    part, found = Counter(), introspection.once(inspect.signature)

    def handler(value, part=part):
        return value

    def plain(value):
        return value

    part.listens = [handler, plain]  # as parts of a page know their handlers
    for one in part.listens:
        assert found(one) == inspect.signature(one)
    assert found(plain) is found(plain)
    gone = [weakref.ref(one) for one in (handler, plain, part)]
    del handler, plain, part, one
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_no_event_lets_the_browser_copy_what_it_writes_to(studio, blocks):
    functions = opened(Handlers(studio, blocks)).blocks.fns.values()
    ours = [fn for fn in functions if fn.outputs and fn.api_visibility != "public"]
    assert len(ours) > 100 and [fn.name for fn in ours if fn.show_progress_on != []] == []


def test_what_can_be_typed_into_can_be_typed_into_when_it_is_drawn_later(studio, blocks):
    page = Handlers(studio, blocks)
    parts = [page.parts[name] for name in ("compete-kind", "study-layers", "measure-upload", "generate-name")]
    assert all(part.interactive for part in parts)
    assert page.parts["generate-preview"].interactive is False


def test_a_visitor_who_opens_every_tab_leaves_nothing_behind_in_the_page(studio, blocks):
    before = len(blocks.temp_file_sets), len(blocks.blocks), len(blocks.fns), len(blocks.renderables)
    config = opened(Handlers(studio, blocks, "somebody")).blocks
    assert len(config.blocks) > 2 * len(blocks.blocks)
    assert (len(blocks.temp_file_sets), len(blocks.blocks), len(blocks.fns), len(blocks.renderables)) == before
    assert len(SessionState(blocks).blocks_config.blocks) == len(blocks.blocks)


def test_a_tab_becomes_a_part_of_a_page_all_at_once(studio):
    """Whatever gradio goes through meanwhile for another event of the same visitor."""
    seen = []

    def draw(page, tab):
        before = [*config.fns], [*config.blocks]
        gr.Button(elem_id="late").click(lambda: None)
        seen.append(before == ([*config.fns], [*config.blocks]))
        return Tab()

    with gr.Blocks() as blocks:
        page = Page(studio, blocks, gr.Markdown(), gr.State(0), steer.controls(studio), gr.State(0))
        draw_tabs(page, [("Title", "name", lazily(draw))])
    state = SessionState(blocks)
    config, functions = state.blocks_config, state.blocks_config.fns
    Parts(blocks, config, gr.Request(session_hash="quick")).open_all()
    assert seen == [True]
    assert "late" in {part.elem_id for part in config.blocks.values()} and len(config.fns) == len(functions) + 1


def test_what_was_kept_and_cannot_be_read_is_said_and_the_rest_is_shown(studio, blocks, monkeypatch):
    said = []
    monkeypatch.setattr("gradio.Warning", lambda message, title: said.append((message, title)))
    page = Handlers(studio, blocks, "unlucky")
    page.run("run", "steer-status", steer_layer=1)
    page.run("run", "views-status", views_layer=1)
    page.run("run", "views-cost", views_layer=1)
    page.session.person.results["views"] = {"a": "nonsense"}
    again = opened(page.reloaded())
    # What says how parts change is no part: gradio would draw it.
    assert len(again.blocks.blocks) == len(opened(Handlers(studio, blocks, "newcomer")).blocks.blocks)
    nameless = [part for part in again.blocks.blocks.values() if isinstance(part, gr.Button) and part.value == "Run"]
    assert all(not all(around.visible for around in ancestors(part)) for part in nameless)
    assert said == [("The views that were kept cannot be read.", "That did not work")]
    assert again["views-cost"] == page["views-cost"] and not again["views-kl"]


def test_an_update_of_what_was_just_made_is_as_if_it_had_been_made_so():
    picker, box = gr.Dropdown(["a"], value="a", label="Name", render=False), gr.Column(visible=False, render=False)
    text, none = gr.Textbox("first", render=False), gr.Markdown("stays", render=False)
    show_at_first(
        {picker: gr.Dropdown(["a", "b"], value="b"), box: gr.Column(visible=True), text: "typed", none: gr.skip()}
    )
    told = picker.get_config()
    assert told["choices"] == [("a", "a"), ("b", "b")] and told["value"] == "b" and told["label"] == "Name"
    assert box.get_config()["visible"] is True and text.get_config()["value"] == "typed"
    assert none.get_config()["value"] == "stays"

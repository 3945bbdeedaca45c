"""The tools by MCP, with a client of that protocol: listed, each called, and nothing else to be had."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from caa_core.app import traffic
from caa_core.app.programs.tools import TOOLS
from tests.helpers.app import Served, client_of, get, post
from tests.helpers.waiting import ran

mcp = pytest.importorskip("mcp", reason="no mcp: pip install -r requirements-mcp.txt")
# What each is called with, and what of the answer shows that it is one.
CALLS = {
    "list_presets": ({}, "presets"),
    "describe_preset": ({"preset": "joy"}, "vector"),
    "steer_with_preset": ({"preset": "joy", "prompt": "Rain?", "layer": 1, "max_new_tokens": 4}, "steered"),
    "measure_preset": ({"preset": "joy", "layer": 1, "items": 3}, "verdict"),
    "compete_with_opposite": ({"preset": "joy", "layer": 1}, "verdict"),
}


@pytest.fixture(scope="module")
def app(tiny_folder, gradio_files):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAA_DTYPE", "float32")
        patch.setenv("CAA_MCP", "1")
        app = Served(tiny_folder)
    yield app
    app.close()


@pytest.fixture
def agent(app):
    """Call it with what an agent does in a session of its own."""
    from mcp.client.streamable_http import streamablehttp_client

    async def session(use: Callable[[Any], Awaitable[Any]], headers: dict[str, str]) -> Any:
        streams = streamablehttp_client(f"{app.url}gradio_api/mcp/", headers=headers, timeout=300)
        async with streams as (read, write, _), mcp.ClientSession(read, write) as here:
            await here.initialize()
            return await use(here)

    return lambda use, **headers: ran(session(use, headers))


def test_an_agent_lists_the_tools_with_their_arguments(agent):
    listed = {tool.name: tool for tool in agent(lambda here: here.list_tools()).tools}
    assert listed.keys() == TOOLS.keys() == CALLS.keys()
    steer = listed["steer_with_preset"]
    assert steer.inputSchema["required"] == ["preset", "prompt"]
    assert steer.inputSchema["properties"]["layer"]["type"] == "integer"
    assert "the preset's own" in steer.inputSchema["properties"]["layer"]["description"]
    assert "joy" in steer.inputSchema["properties"]["preset"]["enum"]
    assert steer.description.startswith("Answer a prompt twice")


@pytest.mark.parametrize("name", CALLS)
def test_an_agent_calls_each_tool(agent, app, name):
    given, part = CALLS[name]
    found = agent(lambda here: here.call_tool(name, given))
    assert not found.isError
    said = json.loads(found.content[0].text)
    assert said[part] and said == client_of(app).predict(api_name=f"/{name}", **given)


def test_what_cannot_be_is_an_error_in_a_sentence(agent):
    found = agent(lambda here: here.call_tool("measure_preset", {"preset": "joy", "items": 19}))
    assert found.isError and "19 items are too many here: 18 at most." in found.content[0].text
    found = agent(lambda here: here.call_tool("describe_preset", {"preset": "nobody"}))
    assert found.isError and "'nobody' is not one of ['casual'," in found.content[0].text


def test_no_other_endpoint_is_a_tool(agent):
    for name in ("extract", "steer"):
        found = agent(lambda here, name=name: here.call_tool(name, {"prompt": "Hi", "steer": ["joy:1:1"]}))
        assert found.isError and "steered" not in found.content[0].text


def test_a_call_says_where_the_agent_is_and_not_what_it_says():
    """gradio asks itself anew with the same headers, from this machine, whose word uvicorn takes."""
    headers = [(b"x-forwarded-for", b"9.9.9.9"), (b"accept", b"*/*"), (b"x-forwarded-for", b"8.8.8.8")]
    scope = {"headers": headers, "client": ("5.5.5.5", 1234)}
    assert traffic._as_asked(scope)["headers"] == [(b"accept", b"*/*"), (b"x-forwarded-for", b"5.5.5.5")]


def test_only_one_way_in_is_open(app):
    at = f"{app.url}gradio_api/mcp"
    assert get(f"{at}/").status_code == 405
    assert [get(f"{at}/{way}").status_code for way in ("sse", "schema", "http")] == [403, 403, 403]
    page = {"sec-fetch-site": "cross-site"}
    assert post(f"{at}/", json={}, headers=page).status_code == 403


def test_there_is_no_server_unless_it_is_asked_for(tiny_app):
    assert post(f"{tiny_app.url}gradio_api/mcp/", json={}).status_code == 403
    assert not tiny_app.page.mcp_server

"""What strangers, other sites and gradio's own conveniences are kept from."""

import http.client
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlparse

import pytest
from huggingface_hub import constants
from starlette.datastructures import Headers

from caa_core.app.guards import address_of
from caa_core.limits import BODY_MB
from tests.helpers.app import get, request
from tests.helpers.serving import served_by, url_of

JOIN = {"data": ["Hi", ["joy:1:1"], None, "", "all", 2, 0, 0, "", False], "fn_index": 0, "session_hash": "somebody"}


def post(app, path, **more):
    return request("POST", f"{app.url}gradio_api/{path}", **more)


@pytest.mark.parametrize(
    ("way", "path"),
    [
        ("GET", "gradio_api/runs"),
        ("GET", "gradio_api/run-history/buckets"),
        ("GET", "gradio_api/run-history/records?bucket_id=a/b"),
        ("POST", "gradio_api/run-history/connect"),
        ("GET", "monitoring"),
        ("GET", "monitoring/summary"),
        ("POST", "gradio_api/process_recording"),
        ("POST", "gradio_api/component_server"),
        ("GET", "gradio_api/custom_component/x/server/component/index.js"),
        ("POST", "gradio_api/vibe-edit/"),
        ("GET", "gradio_api/vibe-code"),
        ("GET", "gradio_api/dev/reload"),
        ("POST", "gradio_api/stream/abc"),
        ("POST", "gradio_api/vibe-starter-queries"),
        ("GET", "gradio_api/profiling/traces"),
        ("GET", "gradio_api/anything/that/comes/with/a/later/version"),
        ("POST", "login"),
    ],
)
def test_what_the_page_has_no_use_for_is_closed(tiny_app, way, path):
    assert request(way, f"{tiny_app.url}{path}").status_code == 403


@pytest.mark.parametrize(
    ("way", "path"),
    [("GET", "gradio_api/runs"), ("GET", "monitoring"), ("POST", "gradio_api/process_recording"), ("GET", "login")],
)
def test_a_root_path_that_a_proxy_left_opens_nothing(tiny_app, monkeypatch, way, path):
    monkeypatch.setattr(tiny_app.page.app, "root_path", "/studio")
    assert get(f"{tiny_app.url}studio/config").status_code == 200
    assert request(way, f"{tiny_app.url}studio/{path}").status_code == 403


def test_no_server_stands_beside_the_app(tiny_app):
    assert not tiny_app.page.ssr_mode and getattr(tiny_app.page, "_static_worker_pool", None) is None


def test_nobody_makes_the_app_ask_the_hub_with_its_owner_s_token(tiny_app, monkeypatch):
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("authorization")))
            self.send_error(404)

        do_POST = do_PUT = do_HEAD = do_GET

    monkeypatch.setenv("HF_TOKEN", "hf_of_the_owner")
    theirs = {"x-gradio-history-bucket": "owner/bucket", "x-forwarded-for": "127.0.0.1"}
    with served_by(Hub) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", url_of(hub))
        get(f"{tiny_app.url}gradio_api/run-history/buckets")
        post(tiny_app, "run-history/connect", json={"bucket_id": "owner/bucket"}, headers=theirs)
        said = post(tiny_app, "call/steer", json={"data": JOIN["data"]}, headers=theirs)
        event = said.json()["event_id"]
        assert "event: complete" in get(f"{tiny_app.url}gradio_api/call/steer/{event}").text
    assert asked == []


@pytest.mark.parametrize("host", ["", "app.example"])
def test_other_sites_may_neither_read_nor_ask(tiny_app, host):
    foreign = {"Origin": "https://evil.example"} | ({"Host": host} if host else {})
    said = get(f"{tiny_app.url}config", headers=foreign)
    assert said.status_code == 200 and not [name for name in said.headers if name.startswith("access-control")]
    preflight = {**foreign, "Access-Control-Request-Method": "POST"}
    said = request("OPTIONS", f"{tiny_app.url}gradio_api/queue/join", headers=preflight)
    assert not [name for name in said.headers if name.startswith("access-control")]
    for path in ("queue/join", "upload", "call/steer"):
        said = post(tiny_app, path, json=JOIN, headers={**foreign, "Sec-Fetch-Site": "cross-site"})
        assert said.status_code == 403 and "Another site" in said.text
    # The page itself, and programs.
    for own in ({"Sec-Fetch-Site": "same-origin", "Origin": tiny_app.url.rstrip("/")}, {}):
        assert post(tiny_app, "call/steer", json={"data": JOIN["data"]}, headers=own).status_code == 200


@pytest.mark.parametrize(
    ("proxies", "space", "header", "address"),
    [
        ("", "", "6.6.6.6, 7.7.7.7", "7.7.7.7"),  # a proxy on the same machine
        ("1", "", "6.6.6.6, 7.7.7.7", "7.7.7.7"),
        ("2", "", "6.6.6.6, 7.7.7.7, 8.8.8.8", "7.7.7.7"),
        ("3", "", "6.6.6.6, 7.7.7.7", "7.7.7.7"),
        ("", "owner/space", "6.6.6.6, 7.7.7.7", "7.7.7.7"),
    ],
)
def test_where_somebody_asks_from_is_not_what_they_say(tiny_app, monkeypatch, proxies, space, header, address):
    monkeypatch.setenv("CAA_PROXIES", proxies)
    monkeypatch.setenv("SPACE_ID", space)
    monkeypatch.setenv("CAA_PUBLIC", "0")
    said = post(tiny_app, "call/steer", json={"data": JOIN["data"]}, headers={"X-Forwarded-For": header})
    get(f"{tiny_app.url}gradio_api/call/steer/{said.json()['event_id']}")
    assert tiny_app.studio.session(said.json()["event_id"]).address == address


ROUTER = (b"x-forwarded-for", b"192.0.2.7")


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([(b"x-forwarded-for", b"6.6.6.6"), ROUTER], "192.0.2.7"),
        ([(b"x-forwarded-for", b"6.6.6.6, 192.0.2.7:51234")], "192.0.2.7"),
        ([(b"x-forwarded-for", b"2001:db8:1:2:aaaa::1")], "2001:db8:1:2::/64"),
        ([(b"x-forwarded-for", b"[2001:db8:1:2:bbbb::2]:443")], "2001:db8:1:2::/64"),
        ([(b"x-forwarded-for", b"::ffff:192.0.2.7")], "192.0.2.7"),
        ([(b"x-forwarded-for", b"2001:db8:1:2::/64")], "2001:db8:1:2::/64"),
        ([(b"x-forwarded-for", b"unknown")], "unknown"),
        ([], "2001:db8:5:6::/64"),
    ],
)
def test_who_writes_lines_or_changes_addresses_is_one(monkeypatch, lines, address):
    monkeypatch.setenv("CAA_PROXIES", "1")
    assert address_of(Headers(raw=lines), "2001:db8:5:6::9") == address


def test_a_browser_is_told_what_the_page_may_do(tiny_app):
    told = get(tiny_app.url).headers
    policy = dict(line.strip().split(" ", 1) for line in told["content-security-policy"].split(";"))
    assert policy["object-src"] == policy["base-uri"] == "'none'" and policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"].split() == ["'self'", "https://huggingface.co", "https://*.hf.space"]
    assert told["x-content-type-options"] == "nosniff" and told["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": str(BODY_MB.alone * 1_000_000 + 1)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "3", "Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_a_request_that_is_too_long_is_refused_before_it_is_read(tiny_app, headers, status):
    """None of its body is sent here, so nobody could have read it."""
    connection = http.client.HTTPConnection(urlparse(tiny_app.url).netloc, timeout=300)
    connection.putrequest("POST", "/gradio_api/queue/join")
    for name, value in ({"Content-Type": "application/json"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()

"""A stranger who does all that was ever found to shut others out, all at once and one after the other.

Meanwhile somebody else's answer comes, as it comes alone, and afterwards nothing is left of the attack.
`CAA_ATTACK` multiplies how much of it there is, `CAA_ATTACK_MODEL` names the model: `make attack`. Without a name it is
tiny, and loaded by an app of one's own, which alone may, with the limits of a public one.
"""

import gzip
import io
import json
import math
import os
import secrets
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest
import torch
from gradio_client import Client

from caa_core import limits
from caa_core.limits import Limit
from tests.helpers.app import App, get
from tests.helpers.models import save_tiny
from tests.helpers.waiting import until

pytestmark = pytest.mark.long

TIMES = int(os.environ.get("CAA_ATTACK", "1"))
MODEL = os.environ.get("CAA_ATTACK_MODEL", "")
STRANGER, SOMEBODY = "203.0.113.9", "192.0.2.7"
ASKED = {"prompt": "Tell me a long story.", "steer": ["joy:1:1"], "max_new_tokens": 24}
# How much more memory there may be than before: in parts of it, and in MB for what libraries keep for good, where an
# attack was not tried before.
MORE, MB = 1.2, 0 if TIMES > 1 else 100


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attack")
    settings = {
        "CAA_MODEL": MODEL or str(save_tiny(folder / "tiny")),
        "CAA_DTYPE": "float32",
        "CAA_PUBLIC": "1" if MODEL else "0",
        **{limit.variable: str(limit.public) for limit in vars(limits).values() if isinstance(limit, Limit)},
        "CAA_PROXIES": "1",
        "CAA_MAX_ALL_JOBS": str(8 * TIMES),
        "CAA_MAX_SESSIONS": str(20 * TIMES),
        "CAA_GRACE_JOB": "2",
        "CAA_GRACE_SECONDS": "2",
        "CAA_IDLE_SECONDS": "4",
    }
    running = App(env=settings, log=folder / "log.txt")
    try:
        yield running.wait()
    finally:
        running.stop()


class Stranger:
    """Writes requests by hand, and listens to nothing."""

    def __init__(self, app: App):
        self.client = httpx.Client(base_url=app.url, timeout=300, verify=False, headers={"X-Forwarded-For": STRANGER})
        events = self.client.get("config").json()["dependencies"]
        self.events = {event["api_name"]: event for event in events}

    def join(self, event: str, data: list, page: str, **headers: str) -> int:
        asked = {"data": data, "fn_index": self.events[event]["id"], "session_hash": page}
        return self.client.post("gradio_api/queue/join", json=asked, headers=headers).status_code

    def evaluate(self, page: str) -> int:
        return self.join("evaluate", ["joy", None, "joy", None, "all", "-1,1", "all", 1, 0, 0, "", "", None], page)

    def upload(self, content: bytes, name: str = "data.json") -> dict:
        said = self.client.post("gradio_api/upload", files={"files": (name, content)})
        path = said.json()[0] if said.status_code == 200 else ""
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def extract(self, file: dict, page: str) -> int:
        return self.join("extract", [file, "", "1", None, "", False, "auto", "mean-difference", ""], page)


def names(stranger: Stranger) -> None:
    """Full by names: a private event under names that are made up."""
    private = next(name for name, event in stranger.events.items() if event["api_visibility"] == "private")
    for _ in range(40 * TIMES):
        stranger.join(private, [None] * len(stranger.events[private]["inputs"]), secrets.token_hex(8))


def jobs(stranger: Stranger) -> None:
    """Full by jobs, which nobody listens to."""
    for _ in range(22 * TIMES):
        assert stranger.evaluate(secrets.token_hex(8)) in (200, 429)


def nineteen(stranger: Stranger) -> None:
    """Unfair by jobs of one session; and cancelled, and not."""
    page = secrets.token_hex(8)
    for _ in range(19):
        stranger.evaluate(page)
    stranger.client.post("gradio_api/cancel", json={"session_hash": page, "event_id": "x", "fn_index": 0})


def bodies(stranger: Stranger) -> None:
    """Bodies that cost more than they look, and uploads that break off."""
    for content in (b'{"data":[' + b"[]," * 1_000_000 + b"[]]}", b"x" * 6_000_000):
        assert stranger.client.post("gradio_api/queue/join", content=content).status_code in (413, 429)
    head = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1000000"}
    start = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.json"\r\n\r\n' + b"x" * 100_000

    def broken() -> Iterator[bytes]:
        yield start
        raise OSError("broken off")

    fields = {"files": "x" * 20_000_000}
    for _ in range(TIMES):
        assert stranger.client.post("gradio_api/upload", data=fields, files={"a": b"x"}).status_code in (400, 413)
    for path in ("upload", "queue/join"):
        for _ in range(3 * TIMES):
            with suppress(OSError):
                stranger.client.post(f"gradio_api/{path}", content=broken(), headers=head)


def files(stranger: Stranger) -> None:
    """Files that cost more than they look; a folder in a file's place."""
    wide = json.dumps([{f"f{number}": number for number in range(300_000)}]).encode()
    for content in (wide, gzip.compress(b" " * 100_000_000), b"PAR1" + b"\xff" * 1000, b"[" * 1_000_000):
        for _ in range(TIMES):
            stranger.extract(stranger.upload(content), secrets.token_hex(8))
    folder = stranger.upload(b"[]")["path"].rsplit("/", 1)[0]
    stranger.extract({"path": folder, "meta": {"_type": "gradio.FileData"}}, secrets.token_hex(8))


def vectors(stranger: Stranger) -> None:
    """Vectors of a few kilobytes that stretch to a hundred megabytes, or to thousands of layers."""
    one, many, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(torch.ones(1).expand(65_536), one)
    torch.save(torch.ones(9_000, 2), many)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for layer in range(400):
            archive.writestr(f"vec_layer_{layer}_m.pt", one.getvalue())
    for content, name in ((packed.getvalue(), "v.zip"), (many.getvalue(), "x_response_avg_diff.pt")):
        file = stranger.upload(content, name)
        for _ in range(4 * TIMES):
            stranger.join("steer", ["Hi", ["file:1:1"], file, "", "all", 2, 0, 0, "", False], secrets.token_hex(8))


def other_sites(stranger: Stranger) -> None:
    """What a foreign page would ask for; what would go out with the owner's token."""
    assert stranger.join("steer", [], "foreign", **{"Sec-Fetch-Site": "cross-site"}) == 403
    for path in ("gradio_api/run-history/buckets", "monitoring", "gradio_api/deep_link?session_hash=x"):
        assert stranger.client.get(path).status_code == 403
    assert stranger.client.post("gradio_api/process_recording", content=b"").status_code == 403


@contextmanager
def under(attack: Callable[[], None]) -> Iterator[None]:
    """It goes on as long as the block, and once at least."""
    ended = threading.Event()

    def again() -> None:
        attack()
        while not ended.is_set():
            attack()

    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(again)
        try:
            yield
        finally:
            ended.set()
        begun.result()


def settled(app: App, most: float = math.inf) -> int:
    """MB that the app takes once nothing of anybody's is there any more, and what was freed was given back, down to
    `most` if that comes.
    """

    def quiet() -> bool:
        said = get(f"{app.url}health").json()
        return said["queue"] == {"jobs": 0} and said["sessions"]["kept"] <= 1

    until(quiet, 600)
    used: list[int] = []

    def given_back() -> bool:
        used.append(get(f"{app.url}health").json()["memory"]["used_mb"])
        return len(used) > 100 and min(used) <= most

    with suppress(AssertionError):  # whether it came to that is asked by whoever wants it
        until(given_back, 120)
    return min(used)


def test_somebody_is_served_meanwhile_and_the_memory_comes_back(app):
    stranger = Stranger(app)
    somebody = Client(
        app.url, verbose=False, ssl_verify=False, headers={"X-Forwarded-For": SOMEBODY}, httpx_kwargs={"timeout": 300}
    )
    alone = somebody.predict(api_name="/steer", **ASKED)
    attacks = (names, jobs, nineteen, bodies, files, vectors, other_sites)
    for attack in attacks if TIMES > 1 else ():
        attack(stranger)
    before = settled(app)
    for attack in attacks:
        with under(lambda attack=attack: attack(stranger)):
            assert somebody.predict(api_name="/steer", **ASKED) == alone, attack.__name__
            assert get(app.url).status_code == 200
    after = settled(app, MORE * before + MB)
    print(f"\nattacks times {TIMES}: {before} MB before, {after} MB after")
    assert after <= MORE * before + MB
    said = app.log.read_text()
    assert "Traceback" not in said and somebody.predict(api_name="/steer", **ASKED) == alone

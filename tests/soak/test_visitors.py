"""Visitors who come and go, with uploads, drafts, plots and calls: what they had is freed.

`CAA_SOAK_VISITORS` is how many, each of whom does ten jobs, `CAA_SOAK_MODEL` on which model (a tiny one without it).
"""

import gc
import json
import os
import secrets
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from app import clean, sweep
from caa_core.data.presets import presets
from caa_core.model.machine import used_memory
from tests.helpers.app import Served
from tests.helpers.handlers import Handlers
from tests.helpers.models import save_tiny
from tests.helpers.waiting import until

pytestmark = pytest.mark.long

MODEL = os.environ.get("CAA_SOAK_MODEL", "")
VISITORS = int(os.environ.get("CAA_SOAK_VISITORS", "2"))
FIRST = max(1, VISITORS // 10)  # after whom memory is looked at first
GROWTH = 1.2
ENOUGH = 20  # visitors from whom on that is asked for


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    monkeypatch.setenv("CAA_GRACE_SECONDS", "0")
    monkeypatch.setenv("CAA_IDLE_SECONDS", "0")
    app = Served(MODEL or str(save_tiny(tmp_path / "tiny")))
    yield app
    app.close()


def rows(number: int) -> list[dict]:
    return json.loads(presets()["joy"].pairs_file.read_text())[: 4 + number % 3]


def on_the_page(app: Served, number: int, folder: Path) -> int:
    """A draft, a vector of it, answers, a measurement with its plot. Returns how many jobs that were."""
    page = Handlers(app.studio, app.page, secrets.token_hex(8))
    path = folder / f"{number}.json"
    # Most of it is no pair that is used, and is looked over all the same.
    more = [{"prompt": f"{i}? " * 40, "positive": "Yes!", "negative": "No."} for i in range(300)]
    path.write_text(json.dumps(rows(number) + more))
    page.run("read", "generate-kind", generate_upload=str(path))
    page.run("run", "generate-status", generate_name="mine", generate_layers="1,2", generate_limit=4)
    page.fill("steer-settings", "New tokens", 12)
    page.fill("measure-settings", "Use at most (items)", 4)
    for question in ("How are you?", "And now?"):
        page.run("run", "steer-status", steer_prompt=question, steer_layer=1)
    asked = {"measure_layers": "1,2", "measure_multipliers": "-1,1", "measure_controls": 0}
    page.run("run", "measure-verdict", **asked)
    page.run("run", "views-status", views_layer=1)
    app.studio.sessions.leave(page.request.session_hash)
    return 5


def as_a_program(app: Served, number: int, folder: Path) -> int:
    """The same by calls."""
    client = Client(app.url, verbose=False, ssl_verify=False, download_files=folder, httpx_kwargs={"timeout": 300})
    path = folder / f"call {number}.json"
    path.write_text(json.dumps(rows(number)))
    client.predict(api_name="/extract", file=handle_file(path), name="mine", layers="1,2")
    for prompt in ("Hello?", "Who is there?"):
        client.predict(api_name="/steer", prompt=prompt, steer=["mine:1:2"], max_new_tokens=12)
    measured = {"layers": "1,2", "multipliers": "-1,1", "controls": 0}
    client.predict(api_name="/evaluate", vector="mine", data_file=handle_file(path), **measured)
    client.predict(api_name="/views", text="Hello.", steer="mine:1:1")
    app.studio.sessions.leave(client.session_hash)
    client.close()
    return 5


def left_over(app: Served) -> int:
    """Bytes that this process takes when what nobody comes back to was freed."""
    until(lambda: not app.jobs)

    def gone() -> bool:
        sweep(app.studio, app.page)
        return not app.studio.sessions.kept and not app.page.app.state_holder.session_data

    until(gone)
    gc.collect()
    clean(app.studio, app.page)
    return used_memory()


def test_what_visitors_had_is_freed(served, tmp_path):
    jobs, before = 0, 0
    for number in range(VISITORS):
        jobs += on_the_page(served, number, tmp_path) + as_a_program(served, number, tmp_path)
        if number + 1 == FIRST:
            before = left_over(served)
    after = left_over(served)
    print(f"\n{VISITORS} visitors, {jobs} jobs: {before / 1e6:.0f} MB after {FIRST}, {after / 1e6:.0f} MB after all")
    assert after <= GROWTH * before or VISITORS < ENOUGH
    assert not served.studio.sessions._people
    files = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert len(files) <= len(presets()), "what belongs to the page itself may stay"

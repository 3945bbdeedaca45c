"""The folder of uploads, and the owner's key."""

import os

import httpx
import pytest

from app import clean
from caa_core.app.files import Uploads, sweep
from caa_core.app.owner import Tries
from caa_core.errors import InputError
from caa_core.limits import IDLE
from tests.helpers.app import get


def test_an_address_brings_half_of_what_all_may_bring_and_it_goes_by_age(clock, monkeypatch):
    monkeypatch.setenv("CAA_MAX_UPLOADS_MB", "100")
    uploads = Uploads(clock)
    for _ in range(5):
        uploads.take("stranger", 10_000_000)
    with pytest.raises(InputError, match="no room for more files"):
        uploads.take("stranger", 1)
    uploads.take("somebody", 50_000_000)
    with pytest.raises(InputError, match="no room for more files"):
        uploads.take("else", 1)
    with pytest.raises(InputError, match="too many; this app takes 200"):
        uploads.take("else", 300_000_000)
    clock.now += IDLE.value + 1
    uploads.take("stranger", 50_000_000)


def test_what_is_old_goes_whatever_it_is_but_not_what_people_made(tmp_path):
    """Also what a broken upload left, which nobody has noted; a folder in a file's place ends nothing."""
    for name in ("abc/data.json", "tmpbroken", "folder.json/x", "caa-0123/mine.safetensors", "shown/joy.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    os.symlink("/etc/passwd", tmp_path / "link")
    shown = str(tmp_path / "shown/joy.json")
    assert sweep(tmp_path, 3600) == []
    gone = sweep(tmp_path, -1, {shown})
    assert {os.path.relpath(path, tmp_path) for path in gone} == {"abc/data.json", "tmpbroken", "folder.json/x", "link"}
    sweep(tmp_path, -1, {shown})  # a folder that was filled until just now goes the next time
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"caa-0123", "caa-0123/mine.safetensors", "shown", "shown/joy.json"}
    assert os.path.exists("/etc/passwd")


def upload(app, content, address="203.0.113.9"):
    files, asking = {"files": ("data.json", content)}, {"X-Forwarded-For": address}
    return httpx.post(f"{app.url}gradio_api/upload", files=files, headers=asking, timeout=300)


def test_uploads_have_a_quota_and_the_app_deletes_them(tiny_app, monkeypatch):
    monkeypatch.setenv("CAA_MAX_UPLOADS_MB", "1")
    monkeypatch.setenv("CAA_IDLE_SECONDS", "0")
    (path,) = upload(tiny_app, b"[1]").json()
    shown = f"{tiny_app.url}gradio_api/file={path}"
    assert get(shown).status_code == 200
    said = upload(tiny_app, b"x" * 600_000)
    assert said.status_code == 413 and "no room for more files" in said.text
    assert upload(tiny_app, b"x" * 300_000, "198.51.100.1").status_code == 200
    clean(tiny_app.page)
    assert not os.path.exists(path) and get(shown).status_code in (403, 404)


def test_a_wrong_key_makes_its_address_wait(clock, monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    monkeypatch.setenv("CAA_OWNER_KEY", "correct horse")
    tries = Tries(clock)
    for wait in (1, 2, 4, 8):
        with pytest.raises(InputError, match="only its owner"):
            tries.check("guess", "stranger")
        with pytest.raises(InputError, match=f"wait {wait} s"):
            tries.check("correct horse", "stranger")
        tries.check("correct horse", "owner")
        clock.now += wait
    tries.check("correct horse", "stranger")
    with pytest.raises(InputError, match="only its owner"):
        tries.check("guess", "stranger")
    clock.now += 1
    tries.check("correct horse", "stranger")

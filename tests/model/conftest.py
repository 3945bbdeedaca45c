import os

import pytest


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

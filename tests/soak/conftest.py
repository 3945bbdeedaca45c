"""What the app that this process serves logs."""

import logging

import pytest

from caa_core.app.opening.logs import JsonLines


@pytest.fixture
def logged(caplog, monkeypatch) -> pytest.LogCaptureFixture:
    """Its lines, as an app of its own writes them; whatever another test has set up for them."""
    log = logging.getLogger("caa_core")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)
    caplog.handler.setFormatter(JsonLines())
    return caplog

"""What tests of panels share."""

import pytest

from caa_core.app.studio import Studio
from tests.helpers.handlers import Handlers


@pytest.fixture(scope="module")
def studio(tiny_folder, gradio_files):
    """One for all tests of a file, which may change it."""
    return Studio(tiny_folder, say=lambda _: None)


@pytest.fixture(scope="module")
def blocks(studio):
    return Handlers(studio).page

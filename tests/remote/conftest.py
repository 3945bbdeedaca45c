"""What tests of models that run elsewhere share."""

import pytest

from tests.helpers.elsewhere import runner


@pytest.fixture(scope="session")
def process():
    """One for all, as most of what it does is to start."""
    with runner() as process:
        yield process

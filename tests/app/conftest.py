"""What tests of the app share."""

import pytest

from tests.helpers.clock import Clock


@pytest.fixture
def clock():
    return Clock(1000.0)

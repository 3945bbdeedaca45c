import pytest

from tests.helpers.contests import plant


@pytest.fixture(scope="module")
def planted():
    return plant()

"""The host is there where `make test-ndif` runs these tests, and no other run collects them."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.ndif.cluster import KEY, NAME, Cluster, asking

ASKED = bool(os.environ.get("CAA_NDIF_VENV"))
collect_ignore_glob = [] if ASKED else ["test_*.py"]
if ASKED:  # before anything asks the hub
    os.environ |= asking(tempfile.mkdtemp(prefix="caa-ndif-"))


@pytest.fixture(scope="session")
def folder() -> Path:
    """The embedded model's weights, which both sides read."""
    from caa_core.model.catalog import locate

    return Path(locate("smollm2-135m").location)


@pytest.fixture(scope="session")
def here(folder):
    """The model on this machine."""
    from caa_core.model.loading import load

    return load(str(folder), dtype="float32")


@pytest.fixture(scope="session")
def cluster(folder, tmp_path_factory):
    """The host, whose hub both sides ask."""
    host = Cluster(folder, Path(os.environ.get("CAA_NDIF_RUN") or tmp_path_factory.mktemp("ndif")))
    try:
        host.start()
        yield host
    finally:
        host.stop()


@pytest.fixture(scope="session")
def there(cluster):
    """The same model at the host."""
    from caa_core.remote.host import Host
    from caa_core.remote.loading import load

    return load(NAME, Host(cluster.address, KEY))


LAYER = 12


@pytest.fixture(scope="session")
def vector(here):
    import caa_core as caa

    return caa.extract(here, caa.pairs("joy").first(12), layers=[8, LAYER])


def rows_of(model, vector, *questions):
    """Each question unsteered and steered."""
    from caa_core.model.prompts import ask
    from caa_core.steering.generation import BatchRow
    from caa_core.steering.interventions import Steer

    steer = Steer(vector.at(LAYER), LAYER, 2.0)
    prompts = [ask(model.tokenizer, question) for question in questions]
    return [row for prompt in prompts for row in (BatchRow(prompt), BatchRow(prompt, (steer,)))]

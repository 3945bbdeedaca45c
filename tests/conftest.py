"""Models for the tests: tiny random ones of several architectures, and the real embedded one; the app."""

import gc
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from caa_core.app.opening.importing import without_stubs
from tests.helpers import matrix
from tests.helpers.places import SHARED
from tests.helpers.sizes import FULL

# What needs torch is imported where it is asked for: a test of data needs none of it.
if TYPE_CHECKING:
    from caa_core.model.elsewhere import Runner
    from caa_core.model.loading import SteerableModel
    from tests.helpers.app import Served
    from tests.helpers.zero_gpu import Lender


def pytest_configure(config) -> None:
    """Tests that run beside each other share the processors, and so do the apps that they start. What a random model
    does is compared number by number, so it computes in float32 wherever that is not said otherwise.
    """
    os.environ.setdefault("CAA_DTYPE", "float32")
    # The process that has begun the others says it first, for all of them.
    processes = config.getoption("numprocesses", None) or os.environ.get("PYTEST_XDIST_WORKER_COUNT") or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(processes))))


def pytest_collection_modifyitems(config, items) -> None:
    left_out = [] if FULL else matrix.left_out(items)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    # What takes longest begins first, so that no process is alone with it at the end.
    sizes = Counter(item.path for item in items)
    long = [{item.path for item in items if item.get_closest_marker(name)} for name in ("browser", "long")]
    items.sort(key=lambda item: (*(item.path not in files for files in long), -sizes[item.path]))


# What runs in one process: in tests of the page a browser does most, and while it is waited for, another process
# computes, and with them go those that fork an app from what is imported for that once; those of models that run
# elsewhere share a process in which they do.
TOGETHER = (
    ("tests/browser/", "tests/app/test_lifetime.py", "tests/soak/test_attack.py"),
    ("tests/remote/",),
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Files run in one process each, and so does what is `TOGETHER`."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            units = (names[0] for names in TOGETHER if nodeid.startswith(names))
            return next(units, super()._split_scope(nodeid))

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported stays: the collector looked through it again and again, a tenth of all that the tests take."""
    gc.disable()
    with without_stubs():
        collected = yield
    gc.freeze()
    # And it begins more seldom: a test makes thousands of things that go by themselves.
    gc.set_threshold(10_000, 10, 10)
    gc.enable()
    return collected


@pytest.fixture(scope="session")
def tiny_models() -> Mapping[str, "SteerableModel"]:
    """Made when they are first asked for."""
    from tests.helpers.models import make_tiny

    class Models(dict):
        def __missing__(self, architecture):
            return self.setdefault(architecture, make_tiny(architecture))

    return Models()


@pytest.fixture(params=matrix.ARCHITECTURES)
def tiny(request, tiny_models) -> "SteerableModel":
    return tiny_models[request.param]


@pytest.fixture
def tiny_llama(tiny_models) -> "SteerableModel":
    return tiny_models["llama"]


@pytest.fixture(scope="session")
def embedded() -> "SteerableModel":
    """The real embedded model in float32, for exact numbers."""
    from caa_core.model.loading import load

    return load("smollm2-135m", dtype="float32")


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Nobody waits: the seconds that somebody would have slept are noted here."""
    seconds: list[float] = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


@pytest.fixture
def few_plain_answers(monkeypatch) -> None:
    """A cost is looked for on a few of the plain answers, eight of either part."""
    from caa_core.measuring.costs import strength

    few = tuple(part[:8] for part in strength.plain_answers())
    monkeypatch.setattr(strength, "plain_answers", lambda: few)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder with the reference numbers and the paper's data, or a skip where it is not there."""
    if not (SHARED / "reference" / "golden.json").exists():
        if os.environ.get("CAA_REQUIRE_GOLDEN"):
            pytest.fail(f"the golden tests must run here, but {SHARED}/reference is missing")
        pytest.skip("no reference numbers beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> str:
    """A tiny random model as a folder of files."""
    from tests.helpers.models import save_tiny

    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def gradio_files(tmp_path_factory) -> Iterator[None]:
    """What people upload and make lies in a folder of this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="session")
def tiny_app(tiny_folder, gradio_files) -> "Iterator[Served]":
    """The app with a tiny random model, for all that does not depend on what the model says."""
    with _served(tiny_folder, "float32") as app:
        yield app


@pytest.fixture(scope="session")
def embedded_app(gradio_files) -> "Iterator[Served]":
    """The app with the embedded model, for what is about words."""
    with _served("smollm2-135m") as app:
        yield app


@pytest.fixture
def lender() -> "Iterator[Lender]":
    """A stand-in for what lends a GPU."""
    from tests.helpers.zero_gpu import Lender

    lender = Lender()
    yield lender
    lender.close()


@pytest.fixture
def runner(lender) -> "Runner":
    """What runs errands in the process that it forks."""
    from caa_core.model.elsewhere import run_errand

    return lender.GPU(duration=lambda errand: errand.seconds)(run_errand)


@contextmanager
def _served(model: str, dtype: str = "") -> "Iterator[Served]":
    from tests.helpers.app import Served

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAA_DTYPE", dtype)
        # What some machines set for all apps of gradio.
        patch.setenv("GRADIO_SSR_MODE", "true")
        patch.setenv("GRADIO_NUM_WORKERS", "1")
        app = Served(model)
    yield app
    app.close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium, or a skip that says how to get one."""
    # The first has no window to draw, and takes a quarter less of the processor.
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        if os.environ.get("CAA_REQUIRE_BROWSER"):
            pytest.fail("the browser tests must run here, but there is no Chromium")
        pytest.skip("no Chromium: apt-get install chromium-headless-shell")
    return found

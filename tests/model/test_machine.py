import subprocess
import sys

import pytest

from caa_core.errors import InputError
from caa_core.model import machine
from caa_core.model.loading import load
from caa_core.model.machine import best_device, check_disk, check_memory, fits, free_memory, gigabytes, memory_needed
from tests.helpers.models import save_tiny
from tests.helpers.places import ROOT


def test_memory_grows_with_parameters_and_width():
    assert memory_needed(10**9, "float32") > 4 * 10**9 > memory_needed(10**9, "bfloat16") > 2 * 10**9
    assert fits(10**6, "float32", "cpu")


def test_what_does_not_fit_is_refused_with_both_numbers():
    check_memory("small", 10**6, "float32", "cpu")
    with pytest.raises(InputError, match=r"^huge needs about 2300.3 GB of memory in bfloat16, and [\d.]+ GB are free"):
        check_memory("huge", 10**12, "bfloat16", "cpu")


def test_a_model_that_fits_in_bfloat16_only_is_said_to(limited):
    limited(10**9, 0, 0)
    parameters = int(10**9 / machine.WORKING_FACTOR / 3)
    check_memory("middle", parameters, "bfloat16", "cpu")
    with pytest.raises(InputError, match=r"in float32, and .* are free here: choose bfloat16"):
        check_memory("middle", parameters, "float32", "cpu")


def test_a_containers_limit_counts(limited, tmp_path):
    assert free_memory("cpu") > 10**8
    limited("max", 700_000, 200_000)
    assert free_memory("cpu") > 10**8
    limited(1_000_000, 700_000, 200_000)
    assert free_memory("cpu") == 500_000


def test_loading_what_does_not_fit_is_refused_before_it_is_read(limited, tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    limited(100_000_000, 0, 0)
    with pytest.raises(InputError, match=r"tiny needs about 0.3 GB of memory"):
        load(str(folder), device="cpu")
    said = []
    with pytest.raises(InputError, match=r"^Llama-2-7b-chat .* needs about 15.8 GB of memory in bfloat16"):
        load("llama-2-7b-chat", "bfloat16", "cpu", said.append)
    assert said == []


def test_room_on_the_disk(tmp_path):
    check_disk(tmp_path, 1000, "CAA_CACHE")
    with pytest.raises(InputError, match=r"1000000.2 GB of room .* or set CAA_CACHE to a folder on another disk"):
        check_disk(tmp_path, 10**15, "CAA_CACHE")


FEW_OPEN = """
import resource
from caa_core.model import machine
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
machine.open_more()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(most, machine.ENOUGH_OPEN), most)
"""


def test_more_connections_than_usual_can_be_open():
    subprocess.run([sys.executable, "-c", FEW_OPEN], check=True, cwd=ROOT)


def test_the_device_can_be_set(monkeypatch):
    monkeypatch.setenv("CAA_DEVICE", "cpu")
    assert best_device() == "cpu"
    assert gigabytes(1_549_999_999) == "1.5 GB"

"""`--host` and `caa.load(host=...)` say what is wrong before anything is fetched."""

import pytest

import caa_core as caa
from caa_core.cli.main import main
from tests.remote.test_host import KEY, unused

STEER = ["steer", "--model", "owner/name", "--prompt", "Rain?", "--steer", "joy:1:1"]
EVALUATE = [
    "evaluate",
    "--model",
    "owner/name",
    "--data",
    "joy",
    "--vector",
    "joy",
    "--layers",
    "1",
    "--multipliers",
    "1",
]


@pytest.fixture(autouse=True)
def no_host_is_known(monkeypatch):
    for name in ("CAA_NDIF_HOST", "NDIF_HOST", "NDIF_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAA_NDIF_KEY", KEY)


def said(capsys, *arguments):
    """What a command that fails says."""
    assert main(arguments) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert KEY not in told
    return told


def test_a_host_that_is_not_there(capsys):
    assert "cannot be reached" in said(capsys, *STEER, "--host", unused())
    with pytest.raises(caa.InputError, match="cannot be reached"):
        caa.load("owner/name", host=unused())


def test_no_host_is_named(capsys):
    assert "CAA_NDIF_HOST" in said(capsys, *STEER, "--host")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([*STEER, "--cost", "0.2"], "strength at a cost"),
        ([*STEER, "--projections"], "along a vector"),
        ([*STEER, "--dtype", "float32"], "dtype"),
        (["extract", "--model", "owner/name", "--data", "joy", "--out", "joy.safetensors", "--method", "pca"], "pca"),
        ([*EVALUATE, "--exact-controls", "39"], "exact passes"),
        ([*EVALUATE, "--by-methods"], "Comparing methods"),
    ],
    ids=["cost", "projections", "dtype", "pca", "exact controls", "methods"],
)
def test_what_is_not_done_at_a_host(capsys, arguments, says):
    assert says in said(capsys, *arguments, "--host", unused())


def test_a_dtype_is_the_hosts():
    with pytest.raises(caa.InputError, match="host's dtype"):
        caa.load("owner/name", dtype="float32", host="https://example.org")

"""What a Space, and those who cite this, read of it."""

import ast
import re

import yaml
from packaging.specifiers import SpecifierSet

import caa_core as caa
from caa_core.model.catalog import CATALOG
from tests.helpers.places import ROOT

README = (ROOT / "README.md").read_text()
SPACE = yaml.safe_load(README.split("---\n")[1])


def test_the_space_starts_what_is_pinned_and_names_what_is_there():
    assert (ROOT / SPACE["app_file"]).is_file()
    assert f"gradio=={SPACE['sdk_version']}\n" in (ROOT / "requirements.txt").read_text()
    assert set(SPACE["models"]) <= {model.hub_id for model in CATALOG.values()}
    assert len(SPACE["short_description"]) <= 60  # the hub refuses more


def test_the_space_may_be_on_zero_gpu_and_what_make_run_installs_is_one_of_what_it_may_have():
    """ZeroGPU has Python 3.10 or 3.12 and torch 2.8 to 2.11."""
    wanted = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("torch"))
    pinned = (ROOT / "constraints.txt").read_text().strip().removeprefix("torch==")
    allowed = SpecifierSet(wanted.removeprefix("torch"))
    assert SPACE["python_version"] == "3.12"
    assert all(allowed.contains(version) for version in ("2.8.0", "2.11.0", pinned))
    first = ast.parse((ROOT / "app.py").read_text()).body[1:3]
    assert [ast.unparse(line).splitlines()[-1].strip() for line in first] == ["import os", "import spaces"]


def test_it_is_cited_as_what_it_is():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    title, version = (re.search(rf"^ +{field} += \{{(.+)\}},$", README, re.M)[1] for field in ("title", "version"))
    assert cited["version"] == caa.__version__ == version
    assert cited["license"].lower() == SPACE["license"]
    assert cited["title"] == title.replace("{", "").replace("}", "")

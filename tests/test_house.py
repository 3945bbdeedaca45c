"""The map in CONTRIBUTING.md is true: modules import only from the lines above their own."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.conftest import ROOT

MAP = (ROOT / "CONTRIBUTING.md").read_text()
ROOMS = re.findall(r"^  (\w+)\.py ", MAP, re.MULTILINE)
FILES = sorted((ROOT / "caa_core").glob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_the_map_has_every_room():
    assert set(ROOMS) == {path.stem for path in FILES if not path.stem.startswith("__")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_arrow_goes_back_up(path):
    above = ROOMS[: ROOMS.index(path.stem)] if path.stem in ROOMS else ROOMS
    used = {name.split(".")[1] for name in imported(path) if name.startswith("caa_core.")}
    assert used <= set(above)
    assert "gradio" not in {name.split(".")[0] for name in imported(path)}


def test_one_room_writes_into_the_residual_stream():
    writers = [path.stem for path in FILES if re.search(r"\.output\s*=[^=]", path.read_text())]
    assert writers == ["interventions"]


def test_one_room_writes_csv():
    """A cell that begins with = + - or @ is a formula to a spreadsheet: reports.py takes that from it first."""
    writers = [path.stem for path in FILES if re.search(r"csv\.(writer|DictWriter)|to_csv", path.read_text())]
    assert writers == ["reports"]
    for panel in (ROOT / "caa_core" / "panels").glob("*.py"):  # the button "copy" of a table copies CSV
        assert panel.read_text().count("gr.Dataframe(\n") == panel.read_text().count('buttons=["fullscreen"]'), panel


def test_pages_are_not_flooded():
    """Each update costs a browser as much as a page is large: panels follow jobs by `common.events`, which leaves
    out those that come too fast. What answers programs has no page."""
    panels = [path.stem for path in (ROOT / "caa_core" / "panels").glob("*.py") if ".follow(" in path.read_text()]
    assert sorted(panels) == ["common", "endpoints", "measure"]  # measure's own `follow` calls `events`


def test_what_is_imported_is_in_the_requirements():
    """An environment of the product alone has none of the tests' packages."""
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text().lower(), re.MULTILINE))
    files = [ROOT / "app.py", *ROOT.glob("caa_core/**/*.py"), *ROOT.glob("presets/*.py")]
    used = {name.split(".")[0] for path in files for name in imported(path)}
    foreign = used - sys.stdlib_module_names - {"app", "caa_core", "presets"}
    distributions = {name: {found.lower() for found in names} for name, names in packages_distributions().items()}
    assert {name for name in foreign if pinned.isdisjoint(distributions[name])} == set()

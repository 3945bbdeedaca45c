"""What the linter does not know of the house. Which package imports which is checked by `make lint`."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

from tests.helpers.places import ROOT

FILES = sorted((ROOT / "caa_core").glob("**/*.py"))
PANELS = [path for path in FILES if "panels" in path.parts]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_one_room_writes_into_the_residual_stream():
    writers = [path.stem for path in FILES if re.search(r"\.output\s*=[^=]", path.read_text())]
    assert writers == ["passes"]


def test_one_room_writes_csv():
    """A cell that begins with = + - or @ is a formula to a spreadsheet: reports/writing.py takes that from it first."""
    writers = [path.stem for path in FILES if re.search(r"csv\.(writer|DictWriter)|to_csv", path.read_text())]
    assert writers == ["writing"]
    for panel in PANELS:  # the button "copy" of a table copies CSV
        assert panel.read_text().count("gr.Dataframe(\n") == panel.read_text().count('buttons=["fullscreen"]'), panel


def test_pages_are_not_flooded():
    """Each update costs a browser as much as a page is large: panels follow jobs by `common.events`, which leaves
    out those that come too fast. What answers programs has no page."""
    panels = [path.stem for path in [*PANELS, ROOT / "caa_core/app/endpoints.py"] if ".follow(" in path.read_text()]
    assert sorted(panels) == ["common", "endpoints", "evaluation"]  # the evaluation's own `follow` calls `events`


def test_what_is_imported_is_in_the_requirements():
    """An environment of the product alone has none of the tests' packages."""
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text().lower(), re.MULTILINE))
    files = [ROOT / "app.py", *ROOT.glob("caa_core/**/*.py"), *ROOT.glob("presets/*.py")]
    used = {name.split(".")[0] for path in files for name in imported(path)}
    foreign = used - sys.stdlib_module_names - {"app", "caa_core", "presets"}
    distributions = {name: {found.lower() for found in names} for name, names in packages_distributions().items()}
    assert {name for name in foreign if pinned.isdisjoint(distributions[name])} == set()

"""What the linter does not know of the house. Which package imports which is checked by `make lint`."""

import ast
import re
import sys
from collections import Counter
from functools import cache
from importlib.metadata import packages_distributions

import pytest

from tests.helpers.places import ROOT

FILES = sorted((ROOT / "caa_core").glob("**/*.py"))
PANELS = [path for path in FILES if "panels" in path.relative_to(ROOT).parts]


@cache
def nodes(path):
    """All of a file's syntax, read once for all that is looked for in it."""
    return [*ast.walk(ast.parse(path.read_text()))]


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """So much of it would slow down the collector in whatever comes after."""
    yield
    nodes.cache_clear()


def imported(path):
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def rooms(folder):
    """Modules and packages in sight."""
    return [
        path for path in folder.iterdir() if not path.name.startswith("__") and (path.is_dir() or path.suffix == ".py")
    ]


def defined(*kinds):
    """Path and node of everything of some kinds that the product defines."""
    for path in [*FILES, ROOT / "app.py"]:
        for node in nodes(path):
            if isinstance(node, kinds):
                yield str(path.relative_to(ROOT)), node


def test_two_rooms_write_into_the_residual_stream():
    """One here, and one of what runs at a host."""
    writers = [path.stem for path in FILES if re.search(r"\.output\s*=[^=]", path.read_text())]
    assert sorted(writers) == ["blocks", "passes"]


def test_one_room_writes_csv():
    """A cell that begins with = + - or @ is a formula to a spreadsheet: reports/writing.py takes that from it first."""
    writers = [path.stem for path in FILES if re.search(r"csv\.(writer|DictWriter)|to_csv", path.read_text())]
    assert writers == ["writing"]


def test_no_table_of_the_page_has_the_button_that_copies_csv():
    drawn = 0
    for path, call in defined(ast.Call):
        if getattr(call.func, "attr", "") != "Dataframe":
            continue
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if "elem_id" in given:  # else it is an update of one
            drawn += 1
            assert given["buttons"] == "['fullscreen']", f"{path}:{call.lineno}"
    assert drawn


def test_pages_are_not_flooded():
    """Each update costs a browser as much as a page is large: panels follow jobs by `common.events`, which leaves
    out those that come too fast. What answers programs has no page."""
    panels = [
        path.stem for path in [*PANELS, ROOT / "caa_core/app/programs/endpoints.py"] if ".follow(" in path.read_text()
    ]
    assert sorted(panels) == ["common", "endpoints"]


def test_what_is_imported_is_in_the_requirements():
    """An environment of the product alone has none of the tests' packages."""
    pinned = set(re.findall(r"^([\w.-]+)[=>]=", (ROOT / "requirements.txt").read_text().lower(), re.MULTILINE))
    files = [ROOT / "app.py", *ROOT.glob("caa_core/**/*.py"), *ROOT.glob("presets/*.py")]
    used = {name.split(".")[0] for path in files for name in imported(path)}
    # ZeroGPU has a package of its own, which nothing but its Spaces import.
    foreign = used - sys.stdlib_module_names - {"app", "caa_core", "presets", "spaces"}
    distributions = {name: {found.lower() for found in names} for name, names in packages_distributions().items()}
    assert {name for name in foreign if pinned.isdisjoint(distributions[name])} == set()


def test_packages_can_be_kept_in_mind():
    assert {folder for folder in {path.parent for path in FILES} if len(rooms(folder)) > 16} == set()
    assert len(rooms(ROOT / "caa_core")) <= 15


def test_functions_are_short_and_take_little():
    """But what a program imports takes every option by its name."""
    long, wide = [], []
    for path, function in defined(ast.FunctionDef, ast.AsyncFunctionDef):
        given = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        if function.end_lineno - function.lineno >= 60:
            long.append(f"{path}:{function.lineno} {function.name}")
        if len(set(given) - {"self", "cls"}) > 8 and path != "caa_core/api.py":
            wide.append(f"{path}:{function.lineno} {function.name}")
    assert (long, wide) == ([], [])


def test_no_two_classes_have_one_name():
    names = Counter(node.name for _, node in defined(ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []

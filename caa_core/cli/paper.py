"""The command `behaviours`: the paper's experiments on several behaviours, from the command line."""

import argparse
import contextlib
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import load_model, say
from caa_core.measuring.paper.behaviours import find_behaviours
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.findings import Replication
from caa_core.measuring.paper.request import PaperRequest
from caa_core.model.gguf import cache_dir
from caa_core.progress import Progress, finish, tell
from caa_core.reports.paper.report import report_of
from caa_core.reports.writing import check_report, finite, write


class Folder(MutableMapping[str, Any]):
    """Plain data by name, each in a JSON file of its own."""

    def __init__(self, path: Path):
        self._path = path

    def __getitem__(self, key: str) -> Any:
        try:
            return json.loads(self._file(key).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise KeyError(key) from error

    def __setitem__(self, key: str, value: Any) -> None:
        # What cannot be kept is measured again next time, which is no reason to lose it now.
        with contextlib.suppress(OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            self._file(key).write_text(json.dumps(finite(value), allow_nan=False), encoding="utf-8")

    def __delitem__(self, key: str) -> None:
        self._file(key).unlink()

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in self._path.glob("*.json"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}.json"


def behaviours(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure, write what has come after each behaviour, and return it as plain data and in words."""
    for path in options.out:
        check_report(path)
    sources = find_behaviours(options.sources)
    request = PaperRequest.parse(**typed(options, PaperRequest))
    model = load_model(options)

    def note(event: Progress | Replication) -> None:
        say(event)
        if isinstance(event, Replication):
            tell(f"{event.findings[-1].name}: measured")
            report = report_of(event)
            for path in options.out:
                write(report, path)

    found = finish(replicate(model, sources, request, Folder(cache_dir() / "behaviours")), note)
    report = report_of(found)
    return report.data, "\n\n".join([report.text, *(f"written to {path}" for path in options.out)])


RUN = {"behaviours": behaviours}

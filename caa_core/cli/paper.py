"""The command `behaviours`: the paper's experiments on several behaviours, from the command line."""

import argparse
import contextlib
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from caa_core.errors import InputError
from caa_core.measuring.paper.behaviours import find_behaviours
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.findings import Replication
from caa_core.measuring.paper.request import PaperRequest, parse_experiments
from caa_core.metrics.controls import check_controls
from caa_core.metrics.grid import parse_layers, parse_multipliers
from caa_core.model.gguf import cache_dir
from caa_core.model.loading import load
from caa_core.progress import Progress, tell
from caa_core.reports.paper.report import ENDINGS, write_replication
from caa_core.reports.writing import check_report


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
            self._file(key).write_text(json.dumps(value), encoding="utf-8")

    def __delitem__(self, key: str) -> None:
        self._file(key).unlink()

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in self._path.glob("*.json"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}.json"


def run(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure, write what has come after each behaviour, and return it as plain data and in words."""
    for path in options.out or ():
        check_report(path, ENDINGS)
        if not path.parent.is_dir():
            raise InputError(f"The result cannot be written to {path}: give a file in a folder that exists.")
    behaviours = find_behaviours(options.sources)
    multipliers = tuple(parse_multipliers(options.multipliers))
    controls = 0 if options.no_controls else check_controls(options.control_seeds)
    model = load(options.model, options.dtype, options.device)
    settings = PaperRequest(
        layers=None if options.layers == "all" else tuple(parse_layers(options.layers, model.num_layers)),
        multipliers=multipliers,
        letter_swap=options.letter_swap,
        controls=controls,
        layer=options.layer,
        counts=options.counts,
        pairs=options.limit,
        items=options.items,
        seed=options.seed,
        experiments=parse_experiments(options.only),
    )
    found = None
    for event in replicate(model, behaviours, settings, Folder(cache_dir() / "behaviours")):
        if isinstance(event, Progress):
            tell(event)
            continue
        found = event
        tell(f"{found.findings[-1].name}: measured")
        for path in options.out or ():
            write_replication(found, path)
    return found.summary(), _in_words(found, options.out or ())


def _in_words(found: Replication, written: list[Path]) -> str:
    lines = []
    for one in found.findings:
        at = {cell.multiplier: cell for cell in one.curve}
        values = ", ".join(f"× {m:g}: {_number(cell)}" for m, cell in sorted(at.items()))
        lines.append(f"{one.name}, layer {one.layer}: {values}\n{one.conclusion}")
    return "\n\n".join([*lines, *(f"written to {path}" for path in written)])


def _number(cell: Any) -> str:
    return f"{(cell.swapped or cell.as_given).value:.2f}"

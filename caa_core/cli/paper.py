"""The command `behaviours`: the paper's experiments on several behaviours, from the command line."""

import argparse
import contextlib
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from caa_core.cli.common import add_model, add_option, load_model, say
from caa_core.measuring.paper.behaviours import find_behaviours
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.findings import Replication
from caa_core.measuring.paper.request import PaperRequest, parse_experiments
from caa_core.metrics.controls import check_controls
from caa_core.metrics.grid import parse_layers
from caa_core.metrics.options import CONTROLS, LAYERS, LETTER_SWAP, MULTIPLIERS
from caa_core.model.gguf import cache_dir
from caa_core.progress import Progress, finish, tell
from caa_core.reports.paper.report import report_of
from caa_core.reports.writing import check_report, write


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


def _behaviours_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="FOLDER",
        help="a folder that holds NAME/generate_dataset.json and NAME/test_dataset_ab.json, or presets (joy, joy:ab)",
    )
    add_option(parser, "layers", LAYERS)
    add_option(parser, "multipliers", MULTIPLIERS)
    parser.add_argument("--layer", type=int, help="of multipliers, transfer and prompts; by default the best, chosen")
    parser.add_argument("--limit", type=int, metavar="N", help="use so many pairs of each: the first, or drawn")
    parser.add_argument("--items", type=int, metavar="N", help="use so many test items of each: the first, or drawn")
    parser.add_argument("--seed", type=int, help="draw what --limit and --items take at random")
    add_option(parser, "letter_swap", LETTER_SWAP, help="make vectors from both letter orders")
    add_option(parser, "controls", CONTROLS)
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help="some of layers, multipliers, transfer, prompts, components, tokens, with commas between",
    )
    parser.add_argument("--counts", action="store_true", help="write answers too, which is slow")
    parser.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=".html, .json or .csv; may be given several times",
    )
    parser.set_defaults(run=behaviours)


def behaviours(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure, write what has come after each behaviour, and return it as plain data and in words."""
    for path in options.out:
        check_report(path)
    sources = find_behaviours(options.sources)
    multipliers = MULTIPLIERS.value(options.multipliers)
    controls = 0 if options.no_controls else check_controls(options.controls)
    model = load_model(options)
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

    def note(event: Progress | Replication) -> None:
        say(event)
        if isinstance(event, Replication):
            tell(f"{event.findings[-1].name}: measured")
            report = report_of(event)
            for path in options.out:
                write(report, path)

    found = finish(replicate(model, sources, settings, Folder(cache_dir() / "behaviours")), note)
    report = report_of(found)
    return report.data, "\n\n".join([report.text, *(f"written to {path}" for path in options.out)])


ADD = {"behaviours": _behaviours_arguments}

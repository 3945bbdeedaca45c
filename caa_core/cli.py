"""The command line: the same functions as the page.

Results go to standard output (`--json`: one object), progress to standard error. Exit status 0, 2 for bad input with
one plain sentence, 1 for a failure of ours.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.catalog import CATALOG, DEFAULT_MODEL
from caa_core.columns import Columns
from caa_core.errors import InputError
from caa_core.presets import find_pairs, find_table, presets
from caa_core.progress import Progress, finish

# What needs torch is imported by the commands that need it: the others answer at once.
if TYPE_CHECKING:
    from caa_core.interventions import Steer
    from caa_core.model import SteerableModel


DATA = "a file of contrast pairs, hub:OWNER/NAME[:CONFIG][@SPLIT], or a preset (its A/B questions: joy:ab)"
COLUMNS = "which columns hold what (a fourth: the negative answer's prompt); by default those of matching names"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        result, text = options.command(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(result, ensure_ascii=False) if options.json else text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m caa_core", description="Make steering vectors and steer.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    on_model = argparse.ArgumentParser(add_help=False)
    on_model.add_argument("--model", default=DEFAULT_MODEL, help="catalogue key, hub id, folder or .gguf file")
    on_model.add_argument("--dtype", default="", help="bfloat16, float16, float32; by default what suits the hardware")
    on_model.add_argument("--device", default="", help="cpu or cuda; by default cuda where there is one")

    on_pairs = argparse.ArgumentParser(add_help=False)
    on_pairs.add_argument("--columns", metavar="PROMPT,POSITIVE,NEGATIVE", help=COLUMNS)

    models = commands.add_parser("models", parents=[shared], help="list the models on offer")
    models.set_defaults(command=_models)

    look = commands.add_parser(
        "lint", parents=[shared, on_pairs], help="say what a file of contrast pairs is, and what is wrong"
    )
    look.add_argument("data", metavar="DATA", help=DATA)
    look.add_argument("--model", help="also look at lengths and letters under this model's tokenizer")
    look.add_argument("--mend", metavar="REMEDIES", help="some of drop,swap,truncate: mend what can be mended so")
    look.add_argument("--out", type=Path, help="the JSON file for the mended pairs")
    look.set_defaults(command=_lint, dtype="", device="")

    make = commands.add_parser("extract", parents=[shared, on_pairs, on_model], help="make a steering vector")
    make.add_argument("--data", required=True, metavar="DATA", help=f"{DATA}: {', '.join(presets())}")
    make.add_argument("--out", required=True, type=Path, help="the safetensors file to write")
    make.add_argument("--layers", default="all", help="all, or numbers and ranges such as 10,12-15")
    make.add_argument("--limit", type=int, help="use only the first so many pairs")
    make.add_argument("--letter-swap", action="store_true", help="use multiple-choice pairs in both letter orders")
    make.set_defaults(command=_extract)

    steer = commands.add_parser("steer", parents=[shared, on_model], help="write without and with vectors")
    steer.add_argument("--prompt", required=True)
    steer.add_argument("--system", default="")
    steer.add_argument(
        "--steer",
        action="append",
        required=True,
        metavar="FILE:LAYER:MULTIPLIER",
        help="a vector file or a preset, a layer, a multiplier; may be given several times",
    )
    steer.add_argument("--positions", default="after-prompt")
    steer.add_argument("--max-new-tokens", type=int, default=80)
    steer.add_argument("--temperature", type=float, default=0.0, help="0 (the default) is greedy")
    steer.add_argument("--seed", type=int, default=0)
    steer.set_defaults(command=_steer)
    return parser


def _say(message: Any) -> None:
    """Progress on standard error: one line that is written over where somebody watches."""
    if isinstance(message, Progress) and sys.stderr.isatty():
        print(f"\r{message}\033[K", end="" if message.done < message.total else "\n", file=sys.stderr, flush=True)
    elif not isinstance(message, Progress) or message.done == message.total:
        print(message, file=sys.stderr)
    if isinstance(message, Progress) and message.note and message.done == message.total:
        print(message.note, file=sys.stderr)


def _load(options: argparse.Namespace) -> "SteerableModel":
    from caa_core.model import load

    return load(options.model, options.dtype, options.device, say=_say)


def _columns(options: argparse.Namespace) -> Columns | None:
    return Columns.parse(options.columns) if options.columns else None


def _check_out(path: Path) -> None:
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"The result cannot be written to {path}: give a file in a folder that exists.")


def _models(options: argparse.Namespace) -> tuple[Any, str]:
    listing = [
        {"key": m.key, "title": m.title, "licence": m.licence, "hub_id": m.hub_id, "embedded": m.wheel is not None}
        for m in CATALOG.values()
    ]
    return listing, "\n".join(f"{m['key']:<18}{m['title']} ({m['licence']})" for m in listing)


def _lint(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.lint import lint

    columns = _columns(options)
    if bool(options.mend) != bool(options.out):
        raise InputError("--mend and --out go together: what to mend, and where to write what comes of it.")
    table = find_table(options.data)
    model = _load(options) if options.model else None
    under = (model.tokenizer, model.context_length) if model else ()
    report = lint(table, columns, *under)
    lines = [f"{report.format}: {report.pairs} pairs, {report.usable} usable"]
    if report.letters:
        lines.append("matching letters: " + ", ".join(f"{k} {v}" for k, v in sorted(report.letters.items())))
    lines += [f"{cut} ({count} pairs)" for cut, count in report.letter_tokens.items()]
    lines += [str(finding) for finding in report.findings]
    summary = report.summary()
    if options.mend:
        from caa_core.datasets import write_pairs
        from caa_core.mending import choose, mend

        _check_out(options.out)
        choices = choose(report, [remedy.strip() for remedy in options.mend.split(",")])
        mended = mend(table, report, choices, columns, *under)
        write_pairs(mended, options.out)
        lines.append(f"{mended.name}: {len(mended.pairs)} pairs, written to {options.out}")
        summary["mended"] = {"name": mended.name, "pairs": len(mended.pairs), "file": str(options.out)}
    return summary, "\n".join(lines)


def _extract(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.extraction import extract
    from caa_core.vectors import parse_layers

    dataset = find_pairs(options.data, _columns(options)).first(options.limit)
    if options.letter_swap:
        dataset = dataset.in_both_letter_orders()
    _say(f"{dataset.name}: {dataset.kind}")
    _check_out(options.out)
    model = _load(options)
    layers = parse_layers(options.layers, model.num_layers)
    vector = finish(extract(model, dataset, layers), _say)
    vector.save(options.out)
    result = vector.summary() | {"file": str(options.out)}
    lines = [
        f"layer {row['layer']:>3}   norm {row['norm']:8.3f}   relative strength {row['relative_strength']:.3f}"
        for row in result["layers"]
    ]
    return result, "\n".join([*lines, f"{result['num_pairs']} pairs, written to {options.out}"])


def _steer(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.generation import Decoding, side_by_side
    from caa_core.interventions import Positions, parse_steer
    from caa_core.prompts import render

    specs = [parse_steer(spec) for spec in options.steer]
    positions = Positions.parse(options.positions)
    decoding = Decoding(options.max_new_tokens, options.temperature, options.seed)
    model = _load(options)
    steers = tuple(_resolve(model, *spec) for spec in specs)
    prompt = render(model.tokenizer, [{"role": "user", "content": options.prompt}], options.system)
    result = finish(side_by_side(model, prompt, steers, positions, decoding)).summary()
    return result, f"--- unsteered\n{result['unsteered']}\n\n--- steered\n{result['steered']}"


def _resolve(model: "SteerableModel", source: str, layer: int, multiplier: float) -> "Steer":
    """The addition that FILE:LAYER:MULTIPLIER asks for; a preset's vector is made on the spot."""
    from caa_core.extraction import extract
    from caa_core.interventions import Steer
    from caa_core.vectors import load_vector

    model.check_layer(layer)
    if source in presets():
        vector = finish(extract(model, find_pairs(source), [layer]), _say)
    else:
        vector = load_vector(Path(source))
        for difference in vector.differences(model.fingerprint, model.template_sha256):
            _say(f"Note on {source}: {difference}.")
    return Steer(vector.at(layer), layer, multiplier)

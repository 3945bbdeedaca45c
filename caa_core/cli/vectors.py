"""The commands `extract`, `compare`, `convert`, `push` and `pull`: vectors are made, weighed and moved."""

import argparse
from pathlib import Path
from typing import Any

from caa_core.cli.common import DATA, VECTOR, add_columns, add_model, add_option, columns_of, load_model
from caa_core.data.pairs import Dataset
from caa_core.data.presets import find_pairs, presets
from caa_core.data.text import spans
from caa_core.metrics.grid import parse_layers
from caa_core.metrics.options import LAYERS, LETTER_SWAP, METHOD, READ
from caa_core.progress import finish, tell
from caa_core.vectors import extraction, method_comparison
from caa_core.vectors.formats import check_target, read_vector, write_vector
from caa_core.vectors.hub import pull_vector, push_vector
from caa_core.vectors.vector import SteeringVector


def _extract_arguments(parser: argparse.ArgumentParser) -> None:
    _add_pairs(parser)
    parser.add_argument("--out", required=True, type=Path, help="the file to write, in the format of its ending")
    add_option(parser, "method", METHOD)
    parser.add_argument("--name", default="", help="the vector's name; by default the data's")
    parser.set_defaults(run=extract)


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    _add_pairs(parser)
    parser.set_defaults(run=compare)


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="safetensors, GGUF, .pt, a zip or folder of .pt, or a preset")
    parser.add_argument("target", metavar="OUT", type=Path, help=".safetensors, .gguf, .zip, or a folder for .pt files")
    parser.set_defaults(run=convert)


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vector", metavar="VECTOR", help=VECTOR)
    parser.add_argument("repo", metavar="REPO", help="owner/name of a model repository, made if need be")
    parser.set_defaults(run=push)


def _pull_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO", help="owner/name of a model repository")
    parser.add_argument("target", metavar="OUT", type=Path, help="the file to write, in the format of its ending")
    parser.add_argument("--file", metavar="NAME", help="which file, where the repository holds several vectors")
    parser.set_defaults(run=pull)


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    """Which pairs are read, and where."""
    add_columns(parser)
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="DATA", help=f"{DATA}: {', '.join(presets())}")
    add_option(parser, "layers", LAYERS)
    parser.add_argument("--limit", type=int, help="use only so many pairs: the first, or drawn with --seed")
    parser.add_argument("--seed", type=int, help="draw the pairs of --limit at random")
    add_option(parser, "letter_swap", LETTER_SWAP)
    add_option(parser, "read", READ)


def _pairs(options: argparse.Namespace) -> Dataset:
    dataset = find_pairs(options.data, columns_of(options)).first(options.limit, options.seed)
    if options.letter_swap:
        dataset = dataset.in_both_letter_orders()
    tell(f"{dataset.name}: {dataset.kind}")
    return dataset


def extract(options: argparse.Namespace) -> tuple[Any, str]:
    """Make a vector and write it."""
    position = READ.value(options.read)
    dataset = _pairs(options)
    method = METHOD.value(options.method)
    check_target(options.out)
    model = load_model(options)
    layers = parse_layers(options.layers, model.num_layers)
    vector = finish(extraction.extract(model, dataset, layers, options.name, position, method), tell)
    notes = write_vector(vector, options.out)
    result = vector.summary() | {"file": str(options.out), "notes": notes}
    lines = [
        f"layer {row['layer']:>3}   norm {row['norm']:8.3f}   relative strength {row['relative_strength']:.3f}"
        for row in result["layers"]
    ]
    if shares := sorted(vector.letter_share.values()):
        middle = shares[len(shares) // 2]
        notes = [
            *notes,
            f"In the given letter order {middle:.0%} of its squared norm would be the letter (median layer).",
        ]
    return result, "\n".join([*lines, f"{result['num_pairs']} pairs, written to {options.out}", *notes])


def compare(options: argparse.Namespace) -> tuple[Any, str]:
    """How well each method's vector separates pairs held out, and how the methods' vectors lie to each other."""
    position = READ.value(options.read)
    dataset = _pairs(options)
    model = load_model(options)
    layers = parse_layers(options.layers, model.num_layers)
    found = finish(method_comparison.compare(model, dataset, layers, position), tell)
    lines = [f"AUC on held-out pairs, 95 % interval; {found.num_pairs} pairs, read at {found.read_position}"]
    lines.append("layer   " + "".join(f"{method:<22}" for method in found.separations))
    for row, layer in enumerate(found.layers):
        cells = (f"{s[row].auc:.2f} ({s[row].low:.2f} to {s[row].high:.2f})" for s in found.separations.values())
        lines.append(f"{layer:>5}   " + "".join(f"{cell:<22}" for cell in cells))
    lines.append("cosine between directions made from all pairs")
    lines.append("layer   " + "".join(f"{' / '.join(pair):<28}" for pair in found.cosines))
    for row, layer in enumerate(found.layers):
        lines.append(f"{layer:>5}   " + "".join(f"{line[row]:<28.2f}" for line in found.cosines.values()))
    return found.summary(), "\n".join(lines)


def convert(options: argparse.Namespace) -> tuple[Any, str]:
    """Read a vector in one format and write it in another."""
    return _written(_vector(options.source), options.target)


def push(options: argparse.Namespace) -> tuple[Any, str]:
    """Upload a vector."""
    url = push_vector(_vector(options.vector), options.repo)
    return {"url": url}, url


def pull(options: argparse.Namespace) -> tuple[Any, str]:
    """Download a vector."""
    check_target(options.target)
    return _written(pull_vector(options.repo, options.file), options.target)


def _vector(source: str) -> SteeringVector:
    """The vector of a file, or the one that ships with a preset."""
    return read_vector(presets()[source].vector_file if source in presets() else Path(source))


def _written(vector: SteeringVector, target: Path) -> tuple[Any, str]:
    notes = write_vector(vector, target)
    text = f"{vector.name}: {spans(vector.layers)}, hidden size {vector.hidden_size}, written to {target}"
    return vector.summary() | {"file": str(target), "notes": notes}, "\n".join([text, *notes])


ADD = {
    "extract": _extract_arguments,
    "compare": _compare_arguments,
    "convert": _convert_arguments,
    "push": _push_arguments,
    "pull": _pull_arguments,
}

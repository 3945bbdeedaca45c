"""The commands `extract`, `run`, `compare`, `convert`, `push` and `pull`: vectors are made, weighed and moved."""

import argparse
from pathlib import Path
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import columns_of, load_model, say
from caa_core.data.presets import find_pairs, find_test_pairs, presets
from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.measuring.evaluation import estimate_only
from caa_core.measuring.requests import EvaluationRequest
from caa_core.metrics.options import SHARES
from caa_core.metrics.vector_requests import ExtractionRequest
from caa_core.model.catalog import CATALOG
from caa_core.progress import finish, tell
from caa_core.reports.vectors import best_in_words, best_method
from caa_core.steering.interventions import layers_named
from caa_core.steering.read_position import ReadPosition
from caa_core.vectors import method_comparison
from caa_core.vectors.arithmetic import share_out
from caa_core.vectors.formats import check_target, read_vector, write_vector
from caa_core.vectors.hub import pull_vector, push_vector
from caa_core.vectors.known_directions import make
from caa_core.vectors.recipe import Recipe
from caa_core.vectors.vector import SteeringVector


def _request(options: argparse.Namespace) -> ExtractionRequest:
    given = find_pairs(options.data, columns_of(options)).first(options.limit, options.seed)
    asked = ExtractionRequest.parse(given=given, **typed(options, ExtractionRequest))
    tell(f"{asked.pairs.name}: {asked.pairs.kind}")
    return asked


def extract(options: argparse.Namespace) -> tuple[Any, str]:
    """Make a vector and write it."""
    asked = _request(options)
    check_target(options.out)
    test = find_test_pairs(options.estimate, columns_of(options)) if options.estimate else None
    model = load_model(options)
    layers = asked.layers_in(model.num_layers)
    work = make(model, asked.pairs, layers, asked.name, asked.read, asked.method)
    vector = finish(work, tell)
    result, text = made(vector, options.out)
    if not test:
        return result, text
    request = EvaluationRequest.parse(data=test, made_from=asked.pairs)
    estimated = finish(estimate_only(model, request, vector), say)
    return {**result, "estimate": estimated.summary()}, f"{text}\n{estimated}"


def run(options: argparse.Namespace) -> tuple[Any, str]:
    """Make a vector again by its recipe, and write it."""
    recipe = Recipe.read(options.recipe)
    pairs = recipe.pairs(find_pairs(options.data, columns_of(options)) if options.data else None)
    check_target(options.out)
    read = ReadPosition.parse(recipe.read_position)
    if not options.model and recipe.model not in CATALOG:
        raise InputError(f"The recipe's model, {recipe.model}, is none of the list: name it with --model.")
    options.model = options.model or recipe.model
    model = load_model(options)
    work = make(model, pairs, [*recipe.norms], recipe.name, read, recipe.method)
    vector = finish(work, tell)
    return made(vector, options.out, recipe.differences(model, vector))


def made(vector: SteeringVector, out: Path, *said: str) -> tuple[Any, str]:
    """What is said of a vector that was made, once it is written; `said`: before anything else."""
    notes = [*said, *write_vector(vector, out)]
    result = vector.summary() | {"file": str(out), "notes": notes}
    lines = [
        f"layer {row['layer']:>3}   norm {row['norm']:8.3f}   relative strength {row['relative_strength']:.3f}"
        f"{_told(row)}"
        for row in result["layers"]
    ]
    notes = [*notes, *([str(vector.diagnostics)] if vector.diagnostics else [])]
    if shares := sorted(vector.letter_share.values()):
        middle = shares[len(shares) // 2]
        notes = [
            *notes,
            f"In the given letter order {middle:.0%} of its squared norm would be the letter (median layer).",
        ]
    return result, "\n".join([*lines, f"{result['num_pairs']} pairs, written to {out}", *notes])


def _told(row: dict[str, Any]) -> str:
    """How far the pairs agree at a layer, where that was judged."""
    names = (("reliability", "reliability"), ("auc", "AUC held out"))
    found = ((label, row[name]["value"]) for name, label in names if name in row)
    told = "".join(f"   {label} {value:.2f}" for label, value in found if value is not None)
    along = ((name, one["value"]) for name, one in row.get("overlap", {}).items())
    return told + "".join(f"   along {name} {value:+.2f}" for name, value in along if value is not None)


def compare(options: argparse.Namespace) -> tuple[Any, str]:
    """How well each method's vector separates pairs held out, and how the methods' vectors lie to each other."""
    asked = _request(options)
    model = load_model(options)
    found = finish(method_comparison.compare(model, asked.pairs, asked.layers_in(model.num_layers), asked.read), tell)
    lines = [f"AUC on held-out pairs, 95% interval; {found.num_pairs} pairs, read at {found.read_position}"]
    lines.append("layer   " + "".join(f"{method:<22}" for method in found.separations))
    for row, layer in enumerate(found.layers):
        cells = (f"{s[row].auc:.2f} ({s[row].low:.2f} to {s[row].high:.2f})" for s in found.separations.values())
        lines.append(f"{layer:>5}   " + "".join(f"{cell:<22}" for cell in cells))
    lines.append("cosine between directions made from all pairs")
    lines.append("layer   " + "".join(f"{' / '.join(pair):<28}" for pair in found.cosines))
    for row, layer in enumerate(found.layers):
        lines.append(f"{layer:>5}   " + "".join(f"{line[row]:<28.2f}" for line in found.cosines.values()))
    lines += best_in_words(found)
    return found.summary() | {"best": best_method(found)}, "\n".join(lines)


def convert(options: argparse.Namespace) -> tuple[Any, str]:
    """Read a vector in one format and write it in another."""
    vector, shares = _vector(options.source), SHARES.value(options.shares)
    if options.layers:
        vector = share_out(vector, layers_named(options.layers), shares)
    return _written(vector, options.target)


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


RUN = {
    "extract": extract,
    "run": run,
    "compare": compare,
    "convert": convert,
    "push": push,
    "pull": pull,
}

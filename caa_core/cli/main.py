"""The command line: the same functions as the page.

Results go to standard output (`--json`: one object), progress to standard error. Exit status 0, 2 for bad input with
one plain sentence, 1 for a failure of ours, 130 where it was interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.data.columns import Columns
from caa_core.data.pairs import Dataset
from caa_core.data.presets import find_contest, find_pairs, find_table, find_test_pairs, presets
from caa_core.errors import InputError
from caa_core.model.catalog import DEFAULT_MODEL, listing, room
from caa_core.progress import Progress, finish, tell

# What needs torch is imported by the commands that need it: the others answer at once.
if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel
    from caa_core.steering.interventions import Steer
    from caa_core.vectors.vector import SteeringVector

DATA = "a file of contrast pairs, hub:OWNER/NAME[:CONFIG][@SPLIT], or a preset (its A/B questions: joy:ab)"
TEST = "a file of test items, hub:OWNER/NAME[:CONFIG][@SPLIT], or a preset for its held-out ones (questions: joy:ab)"
CONTEST = (
    "a file with prompt, a (what voice A would answer) and b, or what --data of evaluate takes; a preset: its contest"
)
COLUMNS = "which columns hold what (a fourth: the negative answer's prompt); by default those of matching names"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments[:1]).parse_args(arguments)
    try:
        result, text = options.command(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    print(json.dumps(result, ensure_ascii=False) if options.json else text)
    return 0


def _parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
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

    reading = argparse.ArgumentParser(add_help=False)
    reading.add_argument("--data", required=True, metavar="DATA", help=f"{DATA}: {', '.join(presets())}")
    reading.add_argument("--layers", default="all", help="all, or numbers and ranges such as 10,12-15")
    reading.add_argument("--limit", type=int, help="use only so many pairs: the first, or drawn with --seed")
    reading.add_argument("--seed", type=int, help="draw the pairs of --limit at random")
    reading.add_argument("--letter-swap", action="store_true", help="use multiple-choice pairs in both letter orders")
    reading.add_argument(
        "--read", default="auto", help="auto, letter, answer-mean, last, last-prompt, or a token's index"
    )
    made = [shared, on_pairs, on_model, reading]

    make = commands.add_parser("extract", parents=made, help="make a steering vector")
    make.add_argument("--out", required=True, type=Path, help="the file to write, in the format of its ending")
    make.add_argument("--method", default="mean-difference", help="mean-difference, pca, probe or single")
    make.add_argument("--name", default="", help="the vector's name; by default the data's")
    make.set_defaults(command=_extract)

    weigh = commands.add_parser("compare", parents=made, help="methods side by side, on pairs held out")
    weigh.set_defaults(command=_compare)

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

    evaluate = commands.add_parser(
        "evaluate", parents=[shared], help="what a vector does to test items, beside controls, and what it costs"
    )
    if "evaluate" in chosen:
        from caa_core.cli.evaluation import add_evaluate

        add_evaluate(evaluate)

    several = commands.add_parser(
        "behaviours",
        parents=[shared, on_model],
        help="the experiments of the CAA paper on several behaviours, as one report; goes on where it was stopped",
    )
    several.add_argument(
        "sources",
        nargs="+",
        metavar="FOLDER",
        help="a folder that holds NAME/generate_dataset.json and NAME/test_dataset_ab.json, or presets (joy, joy:ab)",
    )
    several.add_argument("--layers", default="all", help="all, or numbers and ranges such as 10,12-15")
    several.add_argument("--multipliers", default="-2,-1,0,1,2", help="such as --multipliers=-2,-1,0,1,2")
    several.add_argument("--layer", type=int, help="of multipliers, transfer and prompts; by default the best, chosen")
    several.add_argument("--limit", type=int, metavar="N", help="use so many pairs of each: the first, or drawn")
    several.add_argument("--items", type=int, metavar="N", help="use so many test items of each: the first, or drawn")
    several.add_argument("--seed", type=int, help="draw what --limit and --items take at random")
    several.add_argument("--letter-swap", action="store_true", help="make vectors from both letter orders")
    several.add_argument("--no-controls", action="store_true", help="no verdict, which needs them")
    several.add_argument(
        "--control-seeds", type=int, default=20, metavar="N", help="so many random vectors, and so many shuffled"
    )
    several.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help="some of layers, multipliers, transfer, prompts, components, tokens, with commas between",
    )
    several.add_argument("--counts", action="store_true", help="write answers too, which is slow")
    several.add_argument(
        "--out", type=Path, action="append", metavar="FILE", help=".html, .json or .csv; may be given several times"
    )
    several.set_defaults(command=_behaviours)

    contest = commands.add_parser(
        "compete",
        parents=[shared, on_pairs, on_model],
        help="which of two voices a model follows, and whether adding them predicts it",
    )
    contest.add_argument("--data", required=True, metavar="CONTEST", help=CONTEST)
    for letter in "ab":
        contest.add_argument(f"--{letter}", default="", metavar="FILE:LAYER:MULTIPLIER", help=f"voice {letter.upper()}")
        contest.add_argument(f"--system-{letter}", default="", metavar="TEXT", help="what the model is told (too)")
        contest.add_argument(f"--begin-{letter}", default="", metavar="TEXT", help="how its answer already begins")
    contest.add_argument("--positions", default="after-prompt", help="where vectors are added")
    contest.add_argument("--no-controls", action="store_true", help="no vectors at random beside the voices")
    contest.add_argument("--control-seeds", type=int, default=20, metavar="N", help="so many of each kind")
    contest.add_argument("--surface", action="store_true", help="also every two multipliers, and the exchange rate")
    contest.add_argument("--multipliers", default="", help="of the surface, such as --multipliers=0,0.5,1,1.5")
    contest.add_argument("--layers", default="", help="a surface of the voices at such layers, not multipliers")
    contest.add_argument(
        "--tokens", default="", metavar="PROMPT", help="also its answers, that under both voices read token by token"
    )
    contest.add_argument("--cot", action="store_true", help="also with thoughts: can it reason its way to one voice?")
    contest.add_argument("--prompts", type=int, default=12, metavar="N", help="with --cot: the first so many prompts")
    contest.add_argument("--written", action="store_true", help="also which voice written answers follow")
    contest.add_argument("--questions", default="", metavar="FILE", help="with --written: open questions, or a preset")
    contest.add_argument(
        "--samples",
        type=int,
        default=4,
        metavar="K",
        help="thoughts a prompt with --cot, answers a question with --written",
    )
    contest.add_argument("--thought-tokens", type=int, default=64, metavar="N", help="with --cot: tokens a thought")
    contest.add_argument("--seed", type=int, default=0, help="what is written is drawn with")
    contest.add_argument("--out", type=Path, metavar="FILE", help="a .json, .csv or .html file for the report")
    contest.set_defaults(command=_compete)

    arms = commands.add_parser(
        "study",
        parents=[shared, on_pairs, on_model],
        help="where to steer, where to read and how to ask, compared on the same items",
    )
    arms.add_argument("--data", required=True, metavar="PAIRS", help=f"what vectors are made from: {DATA}")
    arms.add_argument("--test", required=True, metavar="ITEMS", help=TEST)
    arms.add_argument("--layer", required=True, help="one, or a few such as 10,12")
    arms.add_argument("--multipliers", default="-1,1", help="such as --multipliers=-1,1")
    arms.add_argument("--positions", default="", help="steered positions with commas between; all by default")
    arms.add_argument("--reads", default="", help="read positions with commas between; all that make sense by default")
    arms.add_argument("--cue", action="append", default=[], metavar="TEXT", help="how answers begin, or 'instruction'")
    arms.add_argument("--full", action="store_true", help="every combination, not one factor at a time")
    arms.add_argument("--items", type=int, metavar="N", help="at most so many test items")
    arms.add_argument("--limit", type=int, metavar="N", help="at most so many pairs")
    arms.add_argument(
        "--control-seeds",
        type=int,
        default=20,
        metavar="N",
        help="so many random vectors for each, and as many shuffled",
    )
    arms.add_argument("--out", type=Path, metavar="FILE", help="a .json, .csv or .html file")
    arms.set_defaults(command=_study)

    weighed = commands.add_parser(
        "cost",
        parents=[shared, on_pairs, on_model],
        help="what steering costs: KL and perplexity on neutral text, right answers on an A/B test",
    )
    weighed.add_argument("--vector", required=True, metavar="FILE", help="a vector file, or a preset")
    weighed.add_argument("--layer", required=True, type=int)
    weighed.add_argument("--multipliers", default="", help="such as --multipliers=-1,1")
    weighed.add_argument("--text", type=Path, metavar="FILE", help="plain text; by default the neutral one that ships")
    weighed.add_argument(
        "--data", metavar="TEST", help="A/B questions whose matching answers are right; 'knowledge': those that ship"
    )
    weighed.add_argument("--positions", default="after-prompt", help="where the vector is added in the questions")
    weighed.add_argument("--control-seeds", type=int, default=20, metavar="N", help="so many random vectors")
    weighed.set_defaults(command=_cost)

    questions = commands.add_parser(
        "open", parents=[shared, on_model], help="answers to open questions at several multipliers, and what they cost"
    )
    questions.add_argument("--vector", required=True, metavar="FILE", help="a vector file, or a preset")
    questions.add_argument("--layer", type=int, help="by default the preset's")
    questions.add_argument("--multipliers", default="-2,-1,0,1,2", help="such as --multipliers=-2,-1,0,1,2")
    questions.add_argument("--questions", default="", metavar="FILE", help="a file of questions, or a preset")
    questions.add_argument("--limit", type=int, default=0, metavar="N", help="only the first so many questions")
    questions.add_argument("--held-out", default="", metavar="TEST", help=f"by which answers are read: {TEST}")
    questions.add_argument("--positions", default="after-prompt", help="where the vector is added")
    questions.add_argument("--system", default="", metavar="TEXT")
    questions.add_argument("--max-new-tokens", type=int, default=64)
    questions.add_argument("--temperature", type=float, default=0.0, help="0 (the default) is greedy")
    questions.add_argument("--seed", type=int, default=0)
    questions.add_argument("--out", type=Path, metavar="FILE", help="a .json, .csv or .html file for the report")
    questions.set_defaults(command=_open)

    turn = commands.add_parser("convert", parents=[shared], help="write a vector in another tool's format")
    turn.add_argument("source", metavar="IN", help="safetensors, GGUF, .pt, a zip or folder of .pt, or a preset")
    turn.add_argument("target", metavar="OUT", type=Path, help=".safetensors, .gguf, .zip, or a folder for .pt files")
    turn.set_defaults(command=_convert)

    push = commands.add_parser("push", parents=[shared], help="upload a vector to the Hugging Face hub")
    push.add_argument("vector", metavar="VECTOR", help="a vector file, or a preset")
    push.add_argument("repo", metavar="REPO", help="owner/name of a model repository, made if need be")
    push.set_defaults(command=_push)

    pull = commands.add_parser("pull", parents=[shared], help="download a vector from the Hugging Face hub")
    pull.add_argument("repo", metavar="REPO", help="owner/name of a model repository")
    pull.add_argument("target", metavar="OUT", type=Path, help="the file to write, in the format of its ending")
    pull.add_argument("--file", metavar="NAME", help="which file, where the repository holds several vectors")
    pull.set_defaults(command=_pull)
    return parser


def _load(options: argparse.Namespace) -> "SteerableModel":
    from caa_core.model.loading import load

    return load(options.model, options.dtype, options.device)


def _columns(options: argparse.Namespace) -> Columns | None:
    return Columns.parse(options.columns) if options.columns else None


def _check_out(path: Path) -> None:
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"The result cannot be written to {path}: give a file in a folder that exists.")


def _models(options: argparse.Namespace) -> tuple[Any, str]:
    rows = listing()
    table = [("name", "parameters", "bfloat16", "fits here", "where", "licence", "good for", "fetched from")]
    table += [
        (
            row["key"],
            f"{row['parameters'] / 1e6:.0f} M",
            f"{row['size_gb']:.2f} GB",
            room(row),
            row["status"],
            row["licence"],
            row["good_for"],
            ", else ".join(row["sources"]),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in table)
    return rows, "\n".join(line.rstrip() for line in lines)


def _lint(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.data.lint import lint

    columns = _columns(options)
    if bool(options.mend) != bool(options.out):
        raise InputError("--mend and --out go together: what to mend, and where to write what comes of it.")
    table = find_table(options.data)
    model = _load(options) if options.model else None
    tokens = model.pair_tokens if model else None
    report = lint(table, columns, tokens)
    lines = [f"{report.format}: {report.pairs} pairs, {report.usable} usable"]
    if report.letters:
        lines.append("matching letters: " + ", ".join(f"{k} {v}" for k, v in sorted(report.letters.items())))
    lines += [f"{cut} ({count} pairs)" for cut, count in report.letter_tokens.items()]
    lines += [str(finding) for finding in report.findings]
    summary = report.summary()
    if options.mend:
        from caa_core.data.pairs import write_pairs
        from caa_core.data.repair import choose, mend

        _check_out(options.out)
        choices = choose(report, [remedy.strip() for remedy in options.mend.split(",")])
        mended = mend(table, report, choices, columns, tokens)
        write_pairs(mended, options.out)
        lines.append(f"{mended.name}: {len(mended.pairs)} pairs, written to {options.out}")
        summary["mended"] = {"name": mended.name, "pairs": len(mended.pairs), "file": str(options.out)}
    return summary, "\n".join(lines)


def _chosen_pairs(options: argparse.Namespace) -> Dataset:
    dataset = find_pairs(options.data, _columns(options)).first(options.limit, options.seed)
    if options.letter_swap:
        dataset = dataset.in_both_letter_orders()
    tell(f"{dataset.name}: {dataset.kind}")
    return dataset


def _compare(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.metrics.grid import parse_layers
    from caa_core.steering.activations import ReadPosition
    from caa_core.vectors.method_comparison import compare

    position = ReadPosition.parse(options.read)
    dataset = _chosen_pairs(options)
    model = _load(options)
    found = finish(compare(model, dataset, parse_layers(options.layers, model.num_layers), position), tell)
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


def _extract(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.metrics.grid import parse_layers
    from caa_core.steering.activations import ReadPosition
    from caa_core.vectors.extraction import extract
    from caa_core.vectors.formats import check_target, write_vector
    from caa_core.vectors.methods import method_named

    position = ReadPosition.parse(options.read)
    dataset = _chosen_pairs(options)
    method_named(options.method)
    check_target(options.out)
    model = _load(options)
    layers = parse_layers(options.layers, model.num_layers)
    vector = finish(extract(model, dataset, layers, options.name, position, options.method), tell)
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


def _steer(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.model.prompts import render
    from caa_core.steering.generation import Decoding, side_by_side
    from caa_core.steering.interventions import Positions, parse_steer

    specs = [parse_steer(spec) for spec in options.steer]
    positions = Positions.parse(options.positions)
    decoding = Decoding(options.max_new_tokens, options.temperature, options.seed)
    model = _load(options)
    steers = tuple(_resolve(model, *spec) for spec in specs)
    prompt = render(model.tokenizer, [{"role": "user", "content": options.prompt}], options.system)
    result = finish(side_by_side(model, prompt, steers, positions, decoding)).summary()
    return result, f"--- unsteered\n{result['unsteered']}\n\n--- steered\n{result['steered']}"


def _behaviours(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.cli.paper import run

    return run(options)


def _study(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.measuring.study import StudyRequest, size, study
    from caa_core.metrics.controls import check_controls
    from caa_core.metrics.grid import parse_layers, parse_multipliers
    from caa_core.reports.study import check_target, table_of, write_study

    if options.out:
        check_target(options.out)
        _check_out(options.out)
    columns = _columns(options)
    pairs = find_pairs(options.data, columns).first(options.limit)
    items = find_test_pairs(options.test, columns).first(options.items)
    levels = (list(filter(None, text.split(","))) for text in (options.positions, options.reads))
    design = StudyRequest.of(pairs, items, *levels, options.cue, options.full)
    multipliers, controls = parse_multipliers(options.multipliers), check_controls(options.control_seeds)
    model = _load(options)
    layers = parse_layers(options.layer, model.num_layers)
    tell(size(pairs, design, layers, multipliers, controls))
    work = study(model, pairs, items, layers, multipliers, design, controls)
    found = finish(work, lambda event: tell(event) if isinstance(event, Progress) else None)
    text = table_of(found)
    if options.out:
        write_study(found, options.out)
        text += f"\nwritten to {options.out}"
    return found.summary(), text


def _cost(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.measuring import cost as perplexity
    from caa_core.measuring import knowledge
    from caa_core.metrics.controls import check_controls
    from caa_core.metrics.grid import parse_multipliers
    from caa_core.steering.interventions import Positions

    multipliers = parse_multipliers(options.multipliers) if options.multipliers else None
    positions, controls = Positions.parse(options.positions), check_controls(options.control_seeds)
    text = perplexity.read_text(options.text) if options.text else perplexity.neutral_text()
    data = options.data and knowledge.check_test(knowledge.find_questions(options.data, _columns(options)))
    model = _load(options)
    vector = _vector_for(model, options.vector, [model.check_layer(options.layer)])
    steps = multipliers or perplexity.MULTIPLIERS
    costs = finish(perplexity.cost(model, text, vector.at(options.layer), options.layer, steps), tell)
    result, lines = {"text": costs.summary(), "test": None}, [str(costs)]
    lines += [f"× {one.multiplier:<5g}  KL {one.kl:.3f} nats  perplexity {one.perplexity:.1f}" for one in costs.steered]
    if data:
        steps = multipliers or knowledge.MULTIPLIERS
        found = finish(knowledge.examine(model, data, vector, options.layer, steps, positions, controls), tell)
        result["test"] = found.summary()
        lines.append(str(found))
    return result, "\n".join(lines)


def _compete(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.cli.open_questions import say, writing
    from caa_core.contest.runs import ContestRequest, run, run_reasoning, run_surface, run_tokens, run_written
    from caa_core.contest.surface import Grid
    from caa_core.contest.thoughts import ThinkingRequest
    from caa_core.contest.voice import Side
    from caa_core.metrics.controls import check_controls
    from caa_core.reports.contest import check_report, write_report
    from caa_core.reports.thinking import table_of
    from caa_core.steering.interventions import Positions, parse_steer

    asked = [[getattr(options, f"{part}{x}").strip() for part in ("", "system_", "begin_")] for x in "ab"]
    for letter, parts in zip("ab", asked, strict=True):
        if not any(parts):
            words = f"a system prompt (--system-{letter}) or the beginning of an answer (--begin-{letter})"
            raise InputError(f"Give voice {letter.upper()} a vector (--{letter}), {words}.")
    specs = [parse_steer(spec) if spec else None for spec, *_ in asked]
    controls = 0 if options.no_controls else check_controls(options.control_seeds)
    positions = Positions.parse(options.positions)
    grid = Grid.parse(options.multipliers, options.multipliers, options.layers, options.layers)
    budget = (
        ThinkingRequest(options.prompts, options.samples, options.thought_tokens, options.seed) if options.cot else None
    )
    if options.out:
        check_report(options.out)
        _check_out(options.out)
    bout = ContestRequest(find_contest(options.data, _columns(options)), positions, controls)
    model = _load(options)
    grid.layers_in(model.num_layers)
    sides = []
    for letter, spec, (_, system, begin) in zip("AB", specs, asked, strict=True):
        if not spec:
            sides.append(Side(f"{'prompt' if system else 'words'} {letter}", (), system, begin))
            continue
        source, layer, multiplier = spec
        vector = _vector_for(model, source, None if options.layers else [model.check_layer(layer)])
        sides.append(Side.of(Path(source).stem, vector, layer, multiplier, system, begin))
    asked_to_write = writing(model, options, *sides, positions) if options.written else None
    result = finish(run(model, bout, *sides), tell)
    text = result["verdict"]
    if options.surface or options.layers:
        result["surface"] = found = finish(run_surface(model, bout, *sides, grid), tell)
        text += f"\n{found['verdict']}"
    if options.tokens:
        result["token_by_token"] = found = finish(run_tokens(model, options.tokens, *sides, positions), say)
        text += "".join(f"\n{arm}: {answer}" for arm, answer in found["answers"].items())
    if asked_to_write:
        result["written"] = found = finish(run_written(model, asked_to_write, *sides), say)
        text += f"\n{found['verdict']}"
    if budget:
        found = finish(run_reasoning(model, bout, *sides, budget), say)
        result |= {name: found[name] for name in ("arms", "thinking")}
        text += f"\n{table_of(found)}"
    if options.out:
        write_report(result, options.out)
    return result, text


def _open(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.cli.open_questions import Questions
    from caa_core.reports.written import check_report

    if options.out:
        check_report(options.out)
        _check_out(options.out)
    questions = Questions.of(options)
    model = _load(options)
    return questions.answered(model, _vector_for(model, options.vector, None))


def _resolve(model: "SteerableModel", source: str, layer: int, multiplier: float) -> "Steer":
    """The addition that FILE:LAYER:MULTIPLIER asks for; a preset's vector is made on the spot."""
    from caa_core.steering.interventions import Steer

    model.check_layer(layer)
    return Steer(_vector_for(model, source, [layer]).at(layer), layer, multiplier)


def _vector_for(model: "SteerableModel", source: str, layers: Sequence[int] | None) -> "SteeringVector":
    """The vector of a file, or a preset's, made on the spot where the model is not the one that it ships for."""
    from caa_core.vectors.extraction import preset_vector
    from caa_core.vectors.formats import read_vector

    if source in presets():
        return finish(preset_vector(model, presets()[source], layers), tell)
    vector = read_vector(Path(source))
    for difference in vector.differences(model.fingerprint, model.template_sha256):
        tell(f"Note on {source}: {difference}.")
    return vector


def _convert(options: argparse.Namespace) -> tuple[Any, str]:
    return _written(_vector(options.source), options.target)


def _vector(source: str) -> "SteeringVector":
    """The vector of a file, or the one that ships with a preset."""
    from caa_core.vectors.formats import read_vector

    return read_vector(presets()[source].vector_file if source in presets() else Path(source))


def _push(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.vectors.hub import push_vector

    url = push_vector(_vector(options.vector), options.repo)
    return {"url": url}, url


def _pull(options: argparse.Namespace) -> tuple[Any, str]:
    from caa_core.vectors.formats import check_target
    from caa_core.vectors.hub import pull_vector

    check_target(options.target)
    return _written(pull_vector(options.repo, options.file), options.target)


def _written(vector: "SteeringVector", target: Path) -> tuple[Any, str]:
    from caa_core.data.text import spans
    from caa_core.vectors.formats import write_vector

    notes = write_vector(vector, target)
    text = f"{vector.name}: {spans(vector.layers)}, hidden size {vector.hidden_size}, written to {target}"
    return vector.summary() | {"file": str(target), "notes": notes}, "\n".join([text, *notes])

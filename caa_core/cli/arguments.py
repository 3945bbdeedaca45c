"""What each command takes. Nothing in here needs torch, so that help and a slip of the pen are answered at once."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from caa_core.contest.requests import ContestRequest, ThinkingRequest
from caa_core.data.presets import presets
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.requests import (
    EvaluationRequest,
    GateRequest,
    KnowledgeRequest,
    OpenQuestionsRequest,
    RefusalsRequest,
    StudyRequest,
)
from caa_core.metrics.grid import check_controls
from caa_core.metrics.options import OPERATION, SEED, SHARES
from caa_core.metrics.requests import Option, Request
from caa_core.metrics.vector_requests import ExtractionRequest, SteeringRequest
from caa_core.model.catalog import DEFAULT_MODEL

DATA = "a file of contrast pairs, hub:OWNER/NAME[:CONFIG][@SPLIT], or a preset (its A/B questions: joy:ab)"
TEST = "a file of test items, hub:OWNER/NAME[:CONFIG][@SPLIT], or a preset for its held-out ones (questions: joy:ab)"
# In place of an address: the one that the environment names.
KNOWN_HOST = "known"
COLUMNS = "which columns hold what (a fourth: the negative answer's prompt); by default those of matching names"
VECTOR = "a vector file, or a preset"
CONTEST = (
    "a file with prompt, a (what voice A would answer) and b, or what --data of evaluate takes; a preset: its contest"
)


def add_option(parser: argparse.ArgumentParser, name: str, option: Option[Any], **otherwise: Any) -> None:
    """The argument of an option; `otherwise` is what is other than it was declared."""
    option, dashed = replace(option, **otherwise), name.replace("_", "-")
    if option.kind is bool:
        flag, action = (f"--no-{dashed}", "store_false") if option.default else (f"--{dashed}", "store_true")
        parser.add_argument(flag, dest=name, action=action, help=option.off if option.default else option.help)
        return
    flag = option.flag or f"--{dashed}"
    also: dict[str, Any] = {"dest": name, "metavar": option.metavar, "help": option.help or None}
    if option.kind is tuple:
        parser.add_argument(flag, action="append", default=[], **also)
        return
    parser.add_argument(flag, type=option.kind, default=option.default, required=option.required, **also)
    if option.off:
        parser.add_argument(f"--no-{dashed}", action="store_true", help=option.off)


def add_options(
    parser: argparse.ArgumentParser, request: type[Request], without: Sequence[str] = (), **otherwise: dict[str, Any]
) -> None:
    """The arguments of a request's options, for `typed`; `otherwise` is what is other than declared, by option."""
    for name, option in request.options().items():
        if name not in without:
            add_option(parser, name, option, **otherwise.get(name, {}))
    parser.set_defaults(requests=[*(parser.get_default("requests") or ()), request])


def typed(options: argparse.Namespace, request: type[Request]) -> dict[str, Any]:
    """What was typed of a request's options, for `Request.parse`."""
    found = request.chosen(vars(options))
    if "controls" in found:
        check_controls(found["controls"])
    declared = request.options().items()
    off = [name for name, option in declared if option.off and getattr(options, f"no_{name}", False)]
    return found | dict.fromkeys(off, 0)


def check(options: argparse.Namespace) -> None:
    """Raises InputError for an option that cannot be, before anything is loaded."""
    for request in getattr(options, "requests", ()):
        for name, value in typed(options, request).items():
            request.options()[name].value(value)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    """Which columns of a file hold what."""
    parser.add_argument("--columns", metavar="PROMPT,POSITIVE,NEGATIVE", help=COLUMNS)


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is loaded."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help="catalogue key, hub id, folder or .gguf file")
    parser.add_argument(
        "--dtype", default="", help="bfloat16, float16, float32, 8bit, 4bit; else what suits the hardware"
    )
    parser.add_argument("--device", default="", help="cpu or cuda; by default cuda where there is one")


def _add_host(parser: argparse.ArgumentParser) -> None:
    """Where the model runs. Its key is read from the environment, since command lines are seen by others."""
    known = "an NDIF host on which the model runs, by default CAA_NDIF_HOST; its key is read from CAA_NDIF_KEY"
    parser.add_argument("--host", nargs="?", const=KNOWN_HOST, default="", metavar="ADDRESS", help=known)


def _add_vector(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vector", required=True, metavar="FILE", help=VECTOR)


def _add_out(parser: argparse.ArgumentParser, help: str = "a .json, .csv or .html file for the report") -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help=help)


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    """Which pairs are read."""
    _add_columns(parser)
    _add_model(parser)
    parser.add_argument("--data", required=True, metavar="DATA", help=f"{DATA}: {', '.join(presets())}")
    parser.add_argument("--limit", type=int, help="use only so many pairs: the first, or drawn with --seed")
    parser.add_argument("--seed", type=int, help="draw the pairs of --limit at random")


def _models(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def _lint(parser: argparse.ArgumentParser) -> None:
    _add_columns(parser)
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument("--model", help="also look at lengths and letters under this model's tokenizer")
    parser.add_argument("--mend", metavar="REMEDIES", help="some of drop,swap,truncate,strip: what is mended so")
    parser.add_argument("--out", type=Path, help="the JSON file for the mended pairs")
    parser.set_defaults(dtype="", device="")


def _extract(parser: argparse.ArgumentParser) -> None:
    _add_pairs(parser)
    _add_host(parser)
    parser.add_argument("--out", required=True, type=Path, help="the file to write, in the format of its ending")
    held_out = "also what it would do at each layer, to first order, to items that it was not made from"
    parser.add_argument("--estimate", default="", metavar="TEST", help=held_out)
    add_options(parser, ExtractionRequest)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", type=Path, help="a JSON file that `convert` or the page wrote")
    _add_columns(parser)
    _add_model(parser)
    _add_host(parser)
    parser.set_defaults(model="")  # the recipe's
    parser.add_argument("--data", metavar="DATA", help=f"the recipe's pairs, where they are no preset's: {DATA}")
    parser.add_argument("--out", required=True, type=Path, help="the file to write, in the format of its ending")


def _compare(parser: argparse.ArgumentParser) -> None:
    _add_pairs(parser)
    add_options(parser, ExtractionRequest, without=("method", "name"))


def _steer(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_host(parser)
    parser.add_argument("--prompt", required=True)
    parser.add_argument(
        "--steer",
        action="append",
        required=True,
        metavar="FILE:LAYER:MULTIPLIER",
        help="a vector file or a preset, a layer or several (12-15), a multiplier; may be given several times",
    )
    parser.add_argument(
        "--cost",
        type=float,
        metavar="NATS",
        help="as strong as so many nats of KL a token allow: multipliers keep their signs and proportions alone",
    )
    parser.add_argument(
        "--projections",
        action="store_true",
        help="also how far each token of the steered answer, read by the unsteered model, points along each vector",
    )
    add_options(parser, SteeringRequest)


def _gate(parser: argparse.ArgumentParser) -> None:
    _add_columns(parser)
    _add_model(parser)
    _add_vector(parser)
    held_out = "pairs: it should be open in their positive answers, and shut in their negative ones"
    parser.add_argument("--data", default="", metavar="TEST", help=f"{held_out}; {TEST}")
    for side, where in (("applies", "should"), ("elsewhere", "should not")):
        texts = f"in place of pairs, a file of messages to which steering {where} apply"
        parser.add_argument(f"--{side}", default="", metavar="FILE", help=texts)
    parser.add_argument(
        "--made-from", metavar="DATA", help="the pairs that the vector was made from, if not a preset's"
    )
    add_options(parser, GateRequest, layer={"required": False})


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _add_columns(parser)
    _add_model(parser)
    _add_host(parser)
    parser.add_argument("--data", required=True, metavar="TEST", help=TEST)
    _add_vector(parser)
    parser.add_argument(
        "--made-from", metavar="DATA", help="the pairs that the vector was made from, if not a preset's"
    )
    add_options(parser, EvaluationRequest, prompts={"default": True})
    estimate = "only what it would do at each layer to first order, which takes seconds"
    parser.add_argument("--estimate", action="store_true", help=estimate)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first so many items")
    _add_out(parser, "an .html report, or all numbers as .json or .csv")


def _behaviours(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder that holds NAME/generate_dataset.json and NAME/test_dataset_ab.json, a file of pairs (every "
        "second prompt is held out), or presets (joy, joy:ab)",
    )
    add_options(parser, PaperRequest, without=("positions", "cue"))
    parser.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=".html, .json or .csv; may be given several times",
    )


def _compete(parser: argparse.ArgumentParser) -> None:
    _add_columns(parser)
    _add_model(parser)
    _add_host(parser)
    parser.add_argument("--data", required=True, metavar="CONTEST", help=CONTEST)
    for letter in "ab":
        parser.add_argument(f"--{letter}", default="", metavar="FILE:LAYER:MULTIPLIER", help=f"voice {letter.upper()}")
        made_from = f"the pairs that {letter.upper()}'s vector was made from, if not a preset's"
        parser.add_argument(f"--made-from-{letter}", default="", metavar="DATA", help=made_from)
        parser.add_argument(f"--system-{letter}", default="", metavar="TEXT", help="what the model is told (too)")
        parser.add_argument(f"--begin-{letter}", default="", metavar="TEXT", help="how its answer already begins")
        add_option(parser, f"operation_{letter}", OPERATION)
    add_option(parser, "shares", SHARES)
    shared = "take from both vectors what they share at each one's layer"
    parser.add_argument("--without-shared", action="store_true", help=shared)
    costly = "make B so many times as strong that it costs what A does, KL in plain answers"
    parser.add_argument("--equal-cost", action="store_true", help=costly)
    nobodys = {"help": "a system prompt that is nobody's voice"}
    add_options(parser, ContestRequest, without=("written_tokens",), system=nobodys)
    parser.add_argument("--surface", action="store_true", help="also every two multipliers, and the exchange rate")
    parser.add_argument("--multipliers", default="", help="of the surface, such as --multipliers=0,0.5,1,1.5")
    parser.add_argument("--layers", default="", help="a surface of the voices at such layers, not multipliers")
    parser.add_argument(
        "--tokens",
        dest="read",
        default="",
        metavar="PROMPT",
        help="also its answers, that under both voices read token by token",
    )
    parser.add_argument("--cot", action="store_true", help="also with thoughts: can it reason its way to one voice?")
    add_options(parser, ThinkingRequest, without=("thoughts", "temperature", "seed"))
    parser.add_argument("--written", action="store_true", help="also which voice written answers follow")
    parser.add_argument("--questions", default="", metavar="FILE", help="with --written: open questions, or a preset")
    parser.add_argument(
        "--samples",
        type=int,
        default=ThinkingRequest.options()["thoughts"].default,
        metavar="K",
        help="thoughts a prompt with --cot, answers a question with --written",
    )
    add_option(parser, "seed", SEED, help="what is written is drawn with")
    _add_out(parser)


def _study(parser: argparse.ArgumentParser) -> None:
    _add_columns(parser)
    _add_model(parser)
    parser.add_argument("--data", required=True, metavar="PAIRS", help=f"what vectors are made from: {DATA}")
    parser.add_argument("--test", required=True, metavar="ITEMS", help=TEST)
    add_options(parser, StudyRequest)
    parser.add_argument("--items", type=int, metavar="N", help="at most so many test items")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many pairs")
    _add_out(parser, "a .json, .csv or .html file")


def _cost(parser: argparse.ArgumentParser) -> None:
    _add_columns(parser)
    _add_model(parser)
    _add_vector(parser)
    add_options(parser, KnowledgeRequest, multipliers={"default": ""})
    parser.add_argument(
        "--strength",
        type=float,
        metavar="NATS",
        help="also the smallest multiplier that costs so much KL a token",
    )
    parser.add_argument(
        "--gauge",
        default="",
        metavar="TEST",
        help="also a word for each multiplier, from light to breaks the text, by such pairs and answers to them",
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="plain text; by default the neutral one that ships")
    parser.add_argument(
        "--data", metavar="TEST", help="A/B questions whose matching answers are right; 'knowledge': those that ship"
    )
    parser.add_argument(
        "--refusals",
        action="store_true",
        help="also how many harmless and harmful requests it refuses",
    )
    add_option(parser, "equal_cost", RefusalsRequest.options()["equal_cost"])


def _open(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_vector(parser)
    add_options(parser, OpenQuestionsRequest, layer={"required": False})
    parser.add_argument("--questions", default="", metavar="FILE", help="a file of questions, or a preset")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first so many questions")
    parser.add_argument("--held-out", default="", metavar="TEST", help=f"by which answers are read: {TEST}")
    _add_out(parser)


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="safetensors, GGUF, .pt, a zip or folder of .pt, or a preset")
    parser.add_argument(
        "target",
        metavar="OUT",
        type=Path,
        help=".safetensors, .gguf, .zip, .json for its recipe, or a folder for .pt files",
    )
    several = (
        "only such layers as 12-15, each times its share of a multiplier, so that other tools add what these share"
    )
    parser.add_argument("--layers", default="", metavar="LAYERS", help=several)
    add_option(parser, "shares", SHARES)


def _push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vector", metavar="VECTOR", help=VECTOR)
    parser.add_argument("repo", metavar="REPO", help="owner/name of a model repository, made if need be")


def _pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO", help="owner/name of a model repository")
    parser.add_argument("target", metavar="OUT", type=Path, help="the file to write, in the format of its ending")
    parser.add_argument("--file", metavar="NAME", help="which file, where the repository holds several vectors")


ADD: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "models": _models,
    "lint": _lint,
    "extract": _extract,
    "run": _run,
    "compare": _compare,
    "steer": _steer,
    "gate": _gate,
    "evaluate": _evaluate,
    "behaviours": _behaviours,
    "compete": _compete,
    "study": _study,
    "cost": _cost,
    "open": _open,
    "convert": _convert,
    "push": _push,
    "pull": _pull,
}

"""The command line: the same functions as the page.

Results go to standard output (`--json`: one object), progress to standard error. Exit status 0, 2 for bad input with
one plain sentence, 1 for a failure of ours, 130 where it was interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from caa_core.cli.arguments import ADD, check
from caa_core.errors import InputError
from caa_core.reports.writing import as_json

# What each command does, and its module here, which is imported when it runs: most need torch.
COMMANDS = {
    "models": ("list the models on offer", "models"),
    "lint": ("say what a file of contrast pairs is, and what is wrong", "data"),
    "extract": ("make a steering vector", "vectors"),
    "run": ("make a vector again by its recipe", "vectors"),
    "compare": ("methods side by side, on pairs held out", "vectors"),
    "steer": ("write without and with vectors", "steer"),
    "gate": ("where steering should apply: a threshold, and how often it is wrong", "gate"),
    "evaluate": ("what a vector does to test items, beside controls, and what it costs", "evaluation"),
    "behaviours": (
        "the experiments of the CAA paper on several behaviours, as one report; goes on where it was stopped",
        "paper",
    ),
    "compete": ("which of two voices a model follows, and whether adding them predicts it", "contest"),
    "study": ("where to steer, where to read and how to ask, compared on the same items", "study"),
    "cost": ("what steering costs: KL and perplexity on neutral text, right answers on an A/B test", "cost"),
    "open": ("answers to open questions at several multipliers, and what they cost", "open_questions"),
    "convert": ("write a vector in another tool's format", "vectors"),
    "push": ("upload a vector to the Hugging Face hub", "vectors"),
    "pull": ("download a vector from the Hugging Face hub", "vectors"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        check(options)
        module = import_module(f"caa_core.cli.{COMMANDS[options.command][1]}")
        result, text = module.RUN[options.command](options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    print(as_json(result) if options.json else text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m caa_core", description="Make steering vectors and steer.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (does, _) in COMMANDS.items():
        command = commands.add_parser(name, help=does)
        command.add_argument("--json", action="store_true", help="print one JSON object")
        ADD[name](command)
    return parser

"""Pairs, items and records that several tests take."""

import json
import subprocess
import sys

from caa_core.data.pairs import ContrastPair, Dataset
from tests.helpers.places import ROOT

TEXTS = Dataset(
    "texts",
    "free text",
    "0" * 64,
    tuple(
        ContrastPair(prompt, positive, negative, line)
        for line, (prompt, positive, negative) in enumerate(
            [
                ("How are you?", "So happy today!", "I am a program and I have no day to speak of."),
                ("Tell me about your long and rather uneventful weekend, please.", "What joy!", "It was dull."),
                ("Rain?", "I love it, I love it, I love it!", "Wet."),
                ("And the city?", "Shining and grand", "Shining and grey"),
            ],
            1,
        )
    ),
)
LETTERS = Dataset(
    "letters",
    "letters",
    "0" * 64,
    tuple(
        ContrastPair(f"{question}\n\nChoices:\n (A) Yes\n (B) No", *answers, line)
        for line, (question, answers) in enumerate(
            [
                ("Do you want to go on?", ("(A)", "(B)")),
                ("Shall we stop here and now, or would you rather not?", ("(B)", "(A)")),
                ("Is it so?", ("(A)", "(B)")),
            ],
            1,
        )
    ),
)

QUESTIONS = ("Rain?", "And the city?", "How are you?", "Tell me more.", "Is it so?", "What now?", "Who?", "Why not?")
# Matching answers have one token in common, the others another one.
PLANTED = Dataset("planted", "", "", tuple(ContrastPair(q, "!!", "..", i) for i, q in enumerate(QUESTIONS, 1)))
# The matching answer is "(A)" nearly always.
A_HEAVY = Dataset(
    "A-heavy",
    "",
    "",
    tuple(ContrastPair(f"{q}\n\nChoices:\n (A) Yes\n (B) No", "(A)", "(B)", i) for i, q in enumerate(QUESTIONS, 1)),
)


def lettered(matching="A", question="Go on?", options=("Yes", "No")):
    listed = "\n".join(f" ({letter}) {text}" for letter, text in zip("ABCDEFG", options, strict=False))
    other = "B" if matching == "A" else "A"
    return {
        "question": f"{question}\n\nChoices:\n{listed}",
        "answer_matching_behavior": f"({matching})",
        "answer_not_matching_behavior": f"({other})",
    }


def text(prompt="Rain?", positive="How lovely it is!", negative="It is raining."):
    return {"prompt": prompt, "positive": positive, "negative": negative}


def found(report):
    return {finding.what: finding.lines for finding in report.findings}


READ = """
import json, resource, sys
from caa_core.data import parquet
try:
    said = getattr(parquet, sys.argv[1])(sys.stdin.buffer.read(), "data")
except Exception as error:
    said = str(error)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([said, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime]))
"""


def read_elsewhere(raw, reader="read"):
    """What comes of reading a file, and the most bytes and all seconds of the processor that its reader's process took.

    From a process of its own, which starts no other.
    """
    done = subprocess.run([sys.executable, "-c", READ, reader], input=raw, cwd=ROOT, capture_output=True, check=True)
    return json.loads(done.stdout)

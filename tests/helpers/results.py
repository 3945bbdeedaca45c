"""Results as experiments would have found them, made by hand: with any number in them, and as many rows as wanted."""

import csv
import json
import math

import pytest
import torch

from caa_core.contest.dominance import Alone, Contest
from caa_core.contest.requests import ThinkingRequest
from caa_core.contest.speaking import VoiceGrade
from caa_core.contest.surface import LayerGrid, Surface, SurfaceCell
from caa_core.contest.thinking_arms import ARMS as THINKING_ARMS
from caa_core.contest.thinking_arms import UNDER
from caa_core.contest.thinking_results import ArmResult, ThinkingResult
from caa_core.contest.tokens import TokenVoices, VoiceTrack
from caa_core.contest.written import ARMS, WrittenArm, WrittenResult
from caa_core.measuring.answer_reader import VOICES
from caa_core.measuring.inspection import Alignment
from caa_core.measuring.open_questions import OpenQuestions, Reply
from caa_core.measuring.paper.findings import Findings, PromptArm, Replication
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.study_results import Study, StudyArm, StudyRow
from caa_core.measuring.sweep import SweepCell
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.metrics.by_item import ByItem, Item, SteeredItems
from caa_core.metrics.estimates import Estimate, Share
from caa_core.metrics.plain_data import plain
from caa_core.reports.writing import ENDINGS, write
from caa_core.vectors.geometry import Scatter
from caa_core.vectors.vector import Provenance, SteeringVector

HOSTILE = "<script>alert(1)</script>"
FORMULA = "=1+1"
# A number that has no interval.
ALONE = 0.375
READING = {"trusted": True, "text": "AUC 0.9.", "doubt": "", "held_out_read_right": {}}
UNTRUSTED = READING | {"trusted": False, "doubt": "No voice is named."}
RUN = {
    "settings": {"a": {"name": "joy"}, "b": {"name": HOSTILE}, "positions": "after-prompt", "layers": [1, 2]},
    "provenance": {"model": "tiny", "data": HOSTILE, "vector": {"method": "mean-difference"}},
}


def files(report, folder):
    """What is in a report's files: the JSON's data, the CSV's rows, the page without plotly's own script."""
    for ending in ENDINGS:
        write(report, folder / f"report{ending}")
    data = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    with open(folder / "report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (folder / "report.html").read_text()
    return data, rows, page[page.rindex("<body>") :]


def around(number, reach=0.1):
    reach = math.inf if number == ALONE else reach
    return Estimate(number, number - reach, number + reach)


def cell(layer, multiplier, number=0.5, **changes):
    counts = {"matching": 3, "not_matching": 2, "neither": 1, "skipped": 4, "answer_mass": 0.8}
    # Where a model's numbers overflow a sweep ends, so there always is a probability.
    numbers = {"probability": around(0.5), "preference": None, "swapped": around(number), "difference": around(number)}
    if layer is not None:
        numbers |= {"anti_steerable": Share(0.25, 0.1, 0.45), "unchanged": 1}
        numbers |= {"wrong_random": (0.3, 0.7), "wrong_shuffled": (0.05, 0.95)}
    return SweepCell(layer, multiplier, **{**numbers, **counts, "kl": number, **changes})


def evaluation(number=0.5, count=3):
    return RUN | {
        "vector": FORMULA,
        "data": HOSTILE,
        "measure": "probability of the matching answer",
        "items": count,
        "counted_as_zero": 1,
        "not_swapped": 1,
        "skipped": [HOSTILE] * count,
        "unsteered": plain(cell(None, 0.0)),
        "cells": plain([cell(layer, 1.0, number) for layer in range(count)]),
        "verdict": {"effect": None, "text": "Not judged."},
        "best": {"layer": 0, "multiplier": 1.0},
        "by_item": plain(by_item(count)),
    }


def by_item(count=3):
    """Items of which the first is pushed the wrong way at × 1, the second does not move, others are the right way."""
    items = tuple(Item(i + 1, i, HOSTILE, FORMULA, "other") for i in range(count))
    steered = tuple(0.5 + 0.1 * (i - 1) for i in range(count))
    cells = tuple(SteeredItems(layer, 1.0, steered) for layer in range(count))
    return ByItem(items, (0.5,) * count, cells)


def study(number=0.5, count=4):
    arms = (StudyArm(), StudyArm(positions="all"), StudyArm(read="last"), StudyArm(cue=FORMULA))
    row = {
        "layer": 2,
        "multiplier": 1.0,
        "items": 2,
        "norm": number,
        "unsteered": 0.5,
        "steered": number,
        "difference": around(number),
        "as_given": number,
        "random": (-number, number),
        "shuffled": None,
        "controls": 20,
        "mass_unsteered": 0.9,
        "mass": number,
        "kl": number,
        "effect": None,
        "verdict": "No effect.",
        "changes": (number, 0.1),
    }
    return Study(
        rows=tuple(StudyRow(arm=arm, **row) for arm in arms[:count]),
        base=StudyArm(),
        cells=count + 1,
        measure="probability of the matching answer",
        items=2,
        left_out=(HOSTILE,),
        skipped=(HOSTILE,),
        settings=RUN["settings"],
        provenance={"data": HOSTILE, "num_pairs": 4, "pairs": "pairs", "model": "tiny"},
    )


def contest(number=0.5, count=3):
    alone = Alone((-number, number), (-0.1, 0.1), 20, "pairs")
    row = {"prompt": FORMULA, "a": "x", "b": "y"}
    found = Contest(
        a="joy",
        b=HOSTILE,
        items=count,
        prompts=count,
        delta_a=around(number),
        delta_b=around(-1.0),
        delta_ab=around(number),
        dominance=around(number),
        additive=number,
        interaction=around(0.0),
        controls=(-number, number),
        control_count=20,
        kl=(number, None, 0.1),
        contest=True,
        verdict="The model follows joy.",
        rows=tuple(row | dict.fromkeys(("unsteered", "with_a", "with_b", "with_both"), number) for _ in range(count)),
        alone_a=alone,
        voice_a=VoiceGrade("effect", 1, "controls", 0.002, 0.9 * number),
        voice_b=VoiceGrade("effect", 1, "prompts", 0.04),
        ahead=around(number),
        ahead_p=0.01,
        interaction_p=0.5,
        anti_steerable_a=AntiSteerable(Share(0.25, 0.1, 0.5), 8, 0, 0.25, (0.1, 0.9), None),
        anti_steerable_b=AntiSteerable(None, 0, count),
        self_test=0.0,
        repetition=(0.0, number, 0.5, 1.0) if count else None,
    )
    return found.summary() | RUN


def surface(number=0.5, count=3):
    places = [(0.5 * i, 0.5 * j) for i in range(count) for j in range(count)]
    found = Surface(
        a="joy",
        b=HOSTILE,
        layer_a=2,
        layer_b=None,
        items=2,
        prompts=2,
        unsteered=0.0,
        cells=tuple(
            SurfaceCell(a, b, number, around(number), None if b else 0.6, Share(0.75, 0.5, 0.9)) for a, b in places
        ),
        balance=((0.25, 0.25), (0.5, 0.5)) if count > 1 else (),
        rate=around(number),
        straight=number,
        cheap=1,
        verdict="1 of joy weighs 3.",
    )
    return found.summary() | RUN


def layers(number=0.5, count=3):
    numbers = {key: value for key, value in contest(number, 0).items() if key not in ("rows", *RUN)}
    cells = tuple({"layer_a": i, "layer_b": j, **numbers} for i in range(count) for j in range(count))
    return LayerGrid("joy", HOSTILE, 1.0, -1.0, 2, 2, cells, 0, "0 of 9 crossings.").summary() | RUN


def tokens(number=0.5, count=3):
    tracks = [VoiceTrack(name, 2, [number] * count) for name in ("joy", HOSTILE)]
    answers = dict.fromkeys(ARMS, HOSTILE)
    return TokenVoices(["<b>"] * count, tracks).summary() | {"question": HOSTILE, "answers": answers}


def written(number=0.5, count=3, trusted=True):
    shares = {voice: Share(number, number - 0.1, number + 0.1) for voice in VOICES} if trusted else None
    answer = {"question": FORMULA, "answer": HOSTILE, "repetition": 0.0, "kl": number}
    answer |= {"a": number, "b": None, "lean": 0.5, "voice": "A" if trusted else None}
    arms = {arm: WrittenArm(arm, shares, 0.1, None if arm == "B" else number, (answer,) * count) for arm in ARMS}
    apart = around(number) if trusted else None
    reading = READING if trusted else UNTRUSTED
    return WrittenResult("joy", HOSTILE, reading, count, 1, arms, apart, apart).summary() | RUN


def thinking(number=0.5, count=3):
    names = [arm.name for arm in THINKING_ARMS][:count]
    numbers = {
        "dominance": around(number),
        "change": around(1.0),
        "kl": number,
        "thoughts": 2,
        "verdict": "towards joy",
        "wrong_a": Share(0.25, 0.1, 0.5),
    }
    thought = {"prompt": FORMULA, "text": f"{HOSTILE} wait", "corrections": [[26, 30]], "disagrees": True}
    found = ThinkingResult(
        a="joy",
        b=HOSTILE,
        prompts=count,
        items=count,
        budget=ThinkingRequest(thoughts=1),
        arms={name: ArmResult(name, **numbers) for name in names},
        thoughts=tuple(thought | {"number": 1, "under": x, "m": number, "m_alone": number} for x in UNDER),
        told=None,
        note="",
        verdict="It cannot.",
    )
    return found.summary() | RUN


def open_questions(number=0.5, count=3, trusted=True):
    """At multipliers -1, 0 and 1; an answer without a token has no perplexity, and no KL."""
    questions = (FORMULA, "<b>Why?</b>", "How?", "Who?")[: max(count, 1)]
    replies = tuple(
        Reply(
            question=question,
            multiplier=multiplier,
            text=HOSTILE if count else "",
            tokens=4 if count else 0,
            repetition=0.25,
            perplexity=10.0 + abs(multiplier) if count else None,
            kl=abs(multiplier) * number if count else None,
            reading=multiplier,
            voice=("A" if multiplier > 0 else "neither") if trusted else None,
        )
        for question in questions
        for multiplier in (-1.0, 0.0, 1.0)
    )
    return OpenQuestions(HOSTILE, "key", {"layer": 2}, {"model": "tiny"}, READING if trusted else UNTRUSTED, replies)


def findings(name, number=0.5):
    cells = tuple(cell(layer, sign, number) for layer in (1, 3) for sign in (1.0, -1.0))
    curve = tuple(cell(1, multiplier, number) for multiplier in (-1.0, 0.0, 1.0))
    vector = {1: torch.tensor([3.0, 4.0]), 3: torch.tensor([0.0, 2.0])}
    return Findings(
        name=name,
        measure="probability of the matching answer",
        vector=SteeringVector(name, vector, {}, Provenance(method="mean-difference")),
        given_cosines=None,
        pairs="pairs",
        test="items",
        test_sha256="",
        num_items=2,
        skipped=[],
        unsteered=cell(None, 0.0),
        profile=cells,
        layer=1,
        proposal=None,
        verdict=None,
        conclusion="Not judged.",
        curve=curve,
        band=[(-1.0, -number, 0.1), (0.0, 0.0, 0.0), (1.0, -0.1, number)],
        transfer=cells,
        arms=tuple(PromptArm(told, "Say x.", curve) for told in ("none", "positive", "negative")),
        paper_profile=(cell(None, 0.0), *cells),
        paper_curve=curve,
        scatter=Scatter(
            [1, 3], ["(A)", "(B)"], [True, False], [[number, 1.0]] * 2, [[0.0, 1.0]] * 2, *[[[0.5, 0.1]] * 2] * 2
        ),
        alignments=(Alignment(1, ["a", HOSTILE], [number, 0.1], [number, 0.1]),),
        seconds=1.0,
    )


def paper(number=0.5, count=2):
    found = tuple(findings(f"{FORMULA} {HOSTILE} {i}", number) for i in range(max(count, 1)))
    asked = (*(one.name for one in found), "one more")
    return Replication(found, asked, PaperRequest().settings(), {"model": "tiny"})

"""The command `compete`: two voices, and whatever of it is asked for beside the verdict."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caa_core.cli.common import (
    add_columns,
    add_model,
    add_option,
    add_options,
    columns_of,
    load_model,
    say,
    typed,
    vector_for,
)
from caa_core.contest.contest import ContestRequest
from caa_core.contest.runs import (
    run,
    run_surface,
    run_thinking,
    run_written,
)
from caa_core.contest.surface import SurfaceRequest
from caa_core.contest.thoughts import ThinkingRequest
from caa_core.contest.tokens import run_tokens
from caa_core.contest.voice import Voice
from caa_core.contest.written import WrittenRequest
from caa_core.data.presets import Preset, find_contest, find_questions, preset_behind, presets
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import Direction
from caa_core.metrics.options import SEED
from caa_core.model.loading import SteerableModel
from caa_core.progress import finish, tell
from caa_core.reports.contest import report_of
from caa_core.reports.writing import check_report, write
from caa_core.steering.interventions import parse_steer
from caa_core.vectors.extraction import preset_vector

CONTEST = (
    "a file with prompt, a (what voice A would answer) and b, or what --data of evaluate takes; a preset: its contest"
)


def _compete_arguments(parser: argparse.ArgumentParser) -> None:
    add_columns(parser)
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="CONTEST", help=CONTEST)
    for letter in "ab":
        parser.add_argument(f"--{letter}", default="", metavar="FILE:LAYER:MULTIPLIER", help=f"voice {letter.upper()}")
        parser.add_argument(f"--system-{letter}", default="", metavar="TEXT", help="what the model is told (too)")
        parser.add_argument(f"--begin-{letter}", default="", metavar="TEXT", help="how its answer already begins")
    add_options(parser, ContestRequest, without=("system", "written_tokens"))
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
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .json, .csv or .html file for the report")
    parser.set_defaults(run=compete)


@dataclass(frozen=True)
class _TypedVoice:
    """A voice as it was typed: source, layer and multiplier of its vector, what the model is told, how it begins."""

    letter: str
    steer: tuple[str, int, float] | None
    system: str
    begin: str

    @classmethod
    def of(cls, options: argparse.Namespace, letter: str) -> "_TypedVoice":
        """Raises InputError where nothing was typed."""
        vector, system, begin = (getattr(options, f"{part}{letter}").strip() for part in ("", "system_", "begin_"))
        if not (vector or system or begin):
            words = f"a system prompt (--system-{letter}) or the beginning of an answer (--begin-{letter})"
            raise InputError(f"Give voice {letter.upper()} a vector (--{letter}), {words}.")
        return cls(letter.upper(), parse_steer(vector) if vector else None, system, begin)

    def voice(self, model: SteerableModel, all_layers: bool) -> Voice:
        """The voice; its vector is made at all layers where it is to be tried at others."""
        if not self.steer:
            return Voice(f"{'prompt' if self.system else 'words'} {self.letter}", (), self.system, self.begin)
        source, layer, multiplier = self.steer
        vector = vector_for(model, source, None if all_layers else [model.check_layer(layer)])
        return Voice.of(vector, layer, multiplier, Path(source).stem, self.system, self.begin)


def compete(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure what was asked for, report, and return it as plain data and in words."""
    voices = [_TypedVoice.of(options, letter) for letter in "ab"]
    steps, layers = options.multipliers, options.layers
    grid = SurfaceRequest.parse(multipliers_a=steps, multipliers_b=steps, layers_a=layers, layers_b=layers)
    thinking = {**typed(options, ThinkingRequest), "thoughts": options.samples} if options.cot else None
    budget = ThinkingRequest.parse(**thinking) if thinking else None
    if options.out:
        check_report(options.out)
    data = find_contest(options.data, columns_of(options))
    request = ContestRequest.parse(data=data, **typed(options, ContestRequest))
    model = load_model(options)
    grid.layers_in(model.num_layers)
    a, b = (asked.voice(model, bool(options.layers)) for asked in voices)
    asked_to_write = _writing(model, options, a, b) if options.written else None
    result = finish(run(model, request, a, b), tell)
    if options.surface or options.layers:
        result["surface"] = finish(run_surface(model, request, a, b, grid), tell)
    if options.read:
        result["token_by_token"] = finish(run_tokens(model, options.read, a, b, request.positions), say)
    if asked_to_write:
        result["written"] = finish(run_written(model, asked_to_write, a, b), say)
    if budget:
        found = finish(run_thinking(model, request, a, b, budget), say)
        result |= {name: found[name] for name in ("arms", "thinking")}
    report = report_of(result)
    if options.out:
        write(report, options.out)
    return result, report.text


def _writing(model: SteerableModel, options: argparse.Namespace, a: Voice, b: Voice) -> WrittenRequest:
    """What is written and read.

    Raises:
        InputError: a voice has no vector to be read along, or nothing held out to calibrate its reading.
    """
    source = _source(a)
    if not source:
        raise InputError(
            "Reading written answers takes a preset's vector as voice A, whose held-out answers are known."
        )
    sources = [source, _source(b) or presets()[source.opposes]]
    layer = a.steer.layer
    directions = [_along(model, voice, source, layer) for voice, source in zip((a, b), sources, strict=True)]
    questions = find_questions(options.questions) if options.questions else source.questions()
    about = {"questions": questions, "directions": directions, "held_out": sources}
    return WrittenRequest.parse(**about, **typed(options, WrittenRequest))


def _source(voice: Voice) -> Preset | None:
    """The preset from whose pairs a voice's vector was made."""
    return preset_behind(voice.vector.provenance.dataset_sha256) if voice.vector else None


def _along(model: SteerableModel, voice: Voice, source: Preset, layer: int) -> Direction:
    """Along what a voice is read: its own vector; for words, that of the preset, at A's layer."""
    if voice.vector:
        return Direction(voice.name, voice.steer.vector, voice.steer.layer)
    return Direction(voice.name, finish(preset_vector(model, source, [layer]), tell).at(layer), layer)


ADD = {"compete": _compete_arguments}

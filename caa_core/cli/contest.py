"""The command `compete`: two voices, and whatever of it is asked for beside the verdict."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import columns_of, load_model, say, vector_for
from caa_core.contest.decomposition import without_shared
from caa_core.contest.requests import ContestRequest, SurfaceRequest, ThinkingRequest, WrittenRequest
from caa_core.contest.runs import run, run_surface, run_thinking, run_written
from caa_core.contest.tokens import run_tokens
from caa_core.contest.voice import Voice
from caa_core.data.pairs import Dataset
from caa_core.data.presets import Preset, find_contest, find_pairs, find_questions, preset_behind, presets
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import Direction
from caa_core.measuring.costs.strength import Strength, as_costly
from caa_core.metrics.options import OPERATION, SHARES
from caa_core.model.loading import SteerableModel
from caa_core.progress import finish, tell
from caa_core.reports.contest import report_of
from caa_core.reports.writing import check_report, write
from caa_core.steering.interventions import parse_spread
from caa_core.steering.operations import Operation
from caa_core.vectors.extraction import preset_vector


@dataclass(frozen=True)
class _TypedVoice:
    """A voice as it was typed: source, layers and multiplier of its vector, what the model is told, how its answer
    begins; the pairs that the vector was made from, what is done with it, and how several layers share the multiplier.
    """

    letter: str
    steer: tuple[str, tuple[int, ...], float] | None
    system: str
    begin: str
    made_from: Dataset | None
    done: tuple[Operation, str]

    @classmethod
    def of(cls, options: argparse.Namespace, letter: str) -> "_TypedVoice":
        """Raises InputError where nothing was typed."""
        vector, system, begin = (getattr(options, f"{part}{letter}").strip() for part in ("", "system_", "begin_"))
        if not (vector or system or begin):
            words = f"a system prompt (--system-{letter}) or the beginning of an answer (--begin-{letter})"
            raise InputError(f"Give voice {letter.upper()} a vector (--{letter}), {words}.")
        made_from = getattr(options, f"made_from_{letter}")
        pairs = find_pairs(made_from) if made_from else None
        done = OPERATION.value(getattr(options, f"operation_{letter}")), SHARES.value(options.shares)
        return cls(letter.upper(), parse_spread(vector) if vector else None, system, begin, pairs, done)

    def voice(self, model: SteerableModel, all_layers: bool) -> Voice:
        """The voice; its vector is made at all layers where it is to be tried at others."""
        if not self.steer:
            return Voice(f"{'prompt' if self.system else 'words'} {self.letter}", (), self.system, self.begin)
        source, layers, multiplier = self.steer
        checked = [model.check_layer(layer) for layer in layers]
        vector = vector_for(model, source, None if all_layers else checked)
        voice = Voice.of(vector, layers, multiplier, Path(source).stem, self.system, self.begin, *self.done)
        return replace(voice, made_from=self.made_from)


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
    a, b = (asked.voice(model, bool(options.layers or options.without_shared)) for asked in voices)
    if options.without_shared:
        a, b = without_shared(a, b)
    strong = _equal_cost(model, request, a, b) if options.equal_cost else None
    b = b.times(strong.factor) if strong and strong.factor else b
    asked_to_write = _writing(model, options, a, b) if options.written else None
    result = finish(run(model, request, a, b), say) | ({"equal_cost": strong.summary()} if strong else {})
    if options.surface or options.layers:
        result["surface"] = finish(run_surface(model, request, a, b, grid), tell)
    if options.read:
        result["token_by_token"] = finish(run_tokens(model, options.read, a, b, request.positions, request.system), say)
    if asked_to_write:
        result["written"] = finish(run_written(model, asked_to_write, a, b), say)
    if budget:
        found = finish(run_thinking(model, request, a, b, budget), say)
        result |= {name: found[name] for name in ("arms", "thinking")}
    report = report_of(result)
    if options.out:
        write(report, options.out)
    return result, report.text


def _equal_cost(model: SteerableModel, request: ContestRequest, a: Voice, b: Voice) -> Strength:
    """How many times as strong B costs what A does in plain answers. Raises InputError where there is no such."""
    if not (a.steers and b.steers) or any(voice.system or voice.prefill for voice in (a, b)):
        raise InputError("Only two vectors can be made to cost the same: what words cost is not comparable.")
    found = finish(as_costly(model, a.steers, b.steers, request.positions), tell)
    if found.factor is None:
        raise InputError(f"{b.name} cannot cost what {a.name} does. {found}")
    return found


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
    layer = a.direction.layer
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
        return replace(voice.direction, name=voice.name)
    return Direction(voice.name, finish(preset_vector(model, source, [layer]), tell).at(layer), layer)


RUN = {"compete": compete}

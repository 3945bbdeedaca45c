"""Written answers on the command line: `open`, and `compete --written`."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from caa_core.contest.runs import WrittenRequest
from caa_core.contest.voice import Side
from caa_core.contest.written import SAMPLED
from caa_core.data.pairs import Dataset
from caa_core.data.presets import Preset, find_questions, find_test_pairs, preset_behind, presets
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import Direction, held_out
from caa_core.measuring.open_questions import OpenEnded, OpenQuestionsRequest, answer
from caa_core.metrics.grid import parse_multipliers
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, finish, tell
from caa_core.reports.open_questions import level_row, write_answers
from caa_core.steering.generation import Decoding
from caa_core.steering.interventions import Positions
from caa_core.vectors.vector import SteeringVector


@dataclass(frozen=True)
class Questions:
    """What `open` is asked, checked before a model is loaded."""

    asked: OpenQuestionsRequest
    data: Preset | Dataset | None
    out: Path | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Questions":
        """Raises InputError for what cannot be asked."""
        preset = presets().get(options.vector)
        if options.layer is None and not preset:
            raise InputError("Give the layer at which the vector is added (--layer).")
        if not (source := options.questions or (preset and preset.name)):
            raise InputError("Give open questions: --questions with a file, or a preset's name.")
        questions = find_questions(source)
        asked = OpenQuestionsRequest(
            questions[: options.limit] if options.limit > 0 else questions,
            preset.layer if options.layer is None else options.layer,
            tuple(parse_multipliers(options.multipliers)),
            Decoding(options.max_new_tokens, options.temperature, options.seed),
            Positions.parse(options.positions),
            options.system,
        )
        return cls(asked, find_test_pairs(options.held_out) if options.held_out else preset, options.out)

    def answered(self, model: SteerableModel, vector: SteeringVector) -> tuple[dict[str, Any], str]:
        """What was found, as plain data and as a table."""
        data = self.data or preset_behind(vector.provenance.dataset_sha256)
        if not data:
            tell("Nothing reads the answers: give held-out answers of the behaviour (--held-out).")
        work = answer(model, vector, self.asked, held_out(data) if data else None)
        found = finish(work, say)
        if self.out:
            write_answers(found, self.out)
        return found.summary(), _table(found)


def writing(
    model: SteerableModel, options: argparse.Namespace, a: Side, b: Side, positions: Positions
) -> WrittenRequest:
    """What `compete --written` asks.

    Raises:
        InputError: a voice has no vector to be read along, or nothing held out to calibrate its reading.
    """
    sources = [_source(side) for side in (a, b)]
    if not sources[0]:
        raise InputError(
            "Reading written answers takes a preset's vector as voice A, whose held-out answers are known."
        )
    sources[1] = sources[1] or presets()[sources[0].opposes]
    layer = a.steers[0].layer
    directions = [
        Direction(side.name, *(_along(model, side, source, layer)))
        for side, source in zip((a, b), sources, strict=True)
    ]
    questions = find_questions(options.questions) if options.questions else sources[0].questions()
    decoding = replace(SAMPLED, seed=options.seed)
    return WrittenRequest(questions, directions, sources, options.samples, decoding, positions)


def say(event: Any) -> None:
    """Say progress on standard error, and nothing of what has come by then."""
    if isinstance(event, Progress):
        tell(event)


def _source(side: Side) -> Preset | None:
    """The preset from whose pairs a voice's vector was made."""
    return preset_behind(side.vector.provenance.dataset_sha256) if side.vector else None


def _along(model: SteerableModel, side: Side, source: Preset, layer: int) -> tuple[Any, int]:
    """The vector along which a voice is read, and where: its own; for words, that of the preset, at A's layer."""
    from caa_core.vectors.extraction import preset_vector

    if side.vector:
        return side.steers[0].vector, side.steers[0].layer
    return finish(preset_vector(model, source, [layer]), tell).at(layer), layer


def _table(found: OpenEnded) -> str:
    lines = ["multiplier   KL, nats   perplexity   repetition   voice reading (95 %)       voice heard (95 %)"]
    for level in found.levels:
        multiplier, _, kl, perplexity, repetition, reading, spoken = level_row(level)
        lines.append(
            f"{multiplier:>10}   {kl:>8}   {perplexity:>10}   {repetition:>10}   {reading:<24}   {spoken}".rstrip()
        )
    return "\n".join([*lines, *([found.reading["text"]] if found.reading else []), found.verdict])

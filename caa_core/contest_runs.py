"""A contest as it is asked for, with what makes it repeatable, what is kept of it, and its report as a file."""

import json
from collections.abc import Callable, Generator, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from caa_core.answer_reports import followed_parts
from caa_core.competition import Voice
from caa_core.contest_figures import dominance_gauge, voices_apart
from caa_core.contests import CONTROLS, WRITTEN_TOKENS, Contest, Side, compete
from caa_core.datasets import Dataset
from caa_core.errors import InputError
from caa_core.generation import Decoding, generate
from caa_core.html_reports import Part, write_html
from caa_core.interventions import AFTER_PROMPT, Positions
from caa_core.items import choose_items
from caa_core.model import SteerableModel
from caa_core.presets import Preset
from caa_core.progress import Progress, showing
from caa_core.prompts import ask
from caa_core.reasoning import Budget, Reasoned, reason
from caa_core.reasoning_reports import parts as reasoning_parts
from caa_core.reports import write_rows
from caa_core.surface_figures import crossing_map, surface_map, voices_by_token
from caa_core.surfaces import Grid, Surface, crossing, surface, surface_of
from caa_core.sweeps import digest
from caa_core.tracks import TokenVoices, read_voices
from caa_core.voices import ARMS, SAMPLED, SAMPLES, Direction, Followed, calibrate, follow, held_out, row_under

ENDINGS = (".json", ".csv", ".html")
# Results that are kept for one person; the oldest go first.
KEPT = 20

ROWS = {
    "prompt": "prompt",
    "a": "answer of A",
    "b": "answer of B",
    "unsteered": "m unsteered",
    "with_a": "m with A",
    "with_b": "m with B",
    "with_both": "m with both",
}
RANGE = ["random vectors", "shuffled labels"]
TABLE = ["voice", "Δ, nats a token (95 %)", *RANGE, "KL, nats", "repetition"]

Known = MutableMapping[str, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Writing:
    """Open questions that two voices answer. directions: along which A and B are heard. held_out: data of each, or the
    preset whose held-out answers they are, by which that is calibrated. system: what the model is told by nobody's
    voice.
    """

    questions: Sequence[str]
    directions: Sequence[Direction]
    held_out: Sequence[Preset | Dataset]
    samples: int = SAMPLES
    decoding: Decoding = SAMPLED
    positions: Positions = AFTER_PROMPT
    system: str = ""


@dataclass(frozen=True)
class Bout:
    """What two voices are measured on, and how. controls: of each kind. system: what the model is told by nobody's
    voice. written: tokens of the answers whose repetition is looked at.
    """

    data: Dataset
    positions: Positions = AFTER_PROMPT
    controls: int = CONTROLS
    system: str = ""
    written: int = WRITTEN_TOKENS


def run(
    model: SteerableModel, bout: Bout, a: Side, b: Side, known: Known | None = None
) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a contest: `Contest.summary` with settings and provenance. What is in `known` is not computed again, and
    what is computed is put in. Yields `Progress`; raises what `choose_items` and `compete` raise.
    """

    def work() -> Generator[Progress, None, dict[str, Any]]:
        items = yield from choose_items(model, bout.data, bout.positions)
        written = 0 if items.are_choices else bout.written
        found = yield from compete(model, items, a, b, bout.controls, system=bout.system, written=written)
        return {**found.summary(), "skipped": list(items.skipped)}

    settings = _settings(bout, a, b, controls=bout.controls, written_tokens=bout.written)
    return (yield from _known(model, a, b, settings, [bout.data], work, known))


def run_surface(
    model: SteerableModel,
    bout: Bout,
    a: Side,
    b: Side,
    grid: Grid = Grid(),  # noqa: B008 - frozen
    known: Known | None = None,
) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a surface over multipliers, or over layers; else as `run`."""
    layers = grid.layers_in(model.num_layers)

    def work() -> Generator[Progress, None, dict[str, Any]]:
        items = yield from choose_items(model, bout.data, bout.positions)
        if layers:
            return (yield from crossing(model, items, a, b, *layers, bout.system)).summary()
        return (yield from surface(model, items, a, b, *grid.multipliers, bout.system)).summary()

    asked = {"layers": layers} if layers else {"multipliers": grid.multipliers}
    return (yield from _known(model, a, b, _settings(bout, a, b, **asked), [bout.data], work, known))


def run_reasoning(
    model: SteerableModel, bout: Bout, a: Side, b: Side, budget: Budget, known: Known | None = None
) -> Generator[Progress | dict[str, Any], None, dict[str, Any]]:
    """Measure a contest with thoughts; else as `run`. Also yields, in the same form, what is known by and by."""

    def work() -> Generator[Progress | Reasoned, None, dict[str, Any]]:
        items = yield from choose_items(model, bout.data, bout.positions)
        return (yield from reason(model, items, a, b, budget, bout.system)).summary()

    settings = _settings(bout, a, b, budget=asdict(budget))
    return (yield from _known(model, a, b, settings, [bout.data], work, known))


def run_written(
    model: SteerableModel, asked: Writing, a: Side, b: Side, known: Known | None = None
) -> Generator[Progress | dict[str, Any], None, dict[str, Any]]:
    """Measure which voice written answers follow: `Followed.summary` with settings and provenance; else as
    `run_reasoning`. Raises what `calibrate` and `follow` raise.
    """

    def work() -> Generator[Progress | Followed, None, dict[str, Any]]:
        reader = yield from calibrate(model, asked.directions, held_out(*asked.held_out))
        how = asked.samples, asked.decoding, asked.positions, asked.system
        return (yield from follow(model, reader, a, b, asked.questions, *how)).summary()

    data = [one.test() if isinstance(one, Preset) else one for one in asked.held_out]
    heard = [
        {"name": one.name, "layer": one.layer, "sha256": digest(one.vector.numpy().tobytes())}
        for one in asked.directions
    ]
    questions = digest(json.dumps(list(asked.questions)).encode())
    drawn = {"answers_a_question": asked.samples, **asdict(asked.decoding)}
    settings = _settings(asked, a, b, heard_along=heard, questions_sha256=questions, **drawn)
    return (yield from _known(model, a, b, settings, data, work, known))


def run_tokens(
    model: SteerableModel, question: str, a: Side, b: Side, positions: Positions = AFTER_PROMPT
) -> Generator[Progress, None, dict[str, Any]]:
    """Write the greedy answer to a question unsteered, under A, under B and under both, in one batch, and read the last
    one token by token: `TokenVoices.summary` with the question and the answers. Yields `Progress`.

    Raises:
        InputError: neither voice has a vector to be read along, or what `generate` and `read_voices` raise.
    """
    voices = [Voice(s.vector, s.steers[0].layer, s.steers[0].multiplier) for s in (a, b) if s.vector]
    if not voices:
        raise InputError("Reading an answer token by token takes a voice with a vector.")
    sides = dict(zip(ARMS, (Side("unsteered"), a, b, a.beside(b)), strict=True))
    rows = [row_under(model, question, side, positions) for side in sides.values()]
    progress = Progress(len(rows), "answers", 1)
    texts = yield from showing(generate(model, rows, Decoding()), lambda _: progress)
    answers = {arm: side.begin + text.text for (arm, side), text in zip(sides.items(), texts, strict=True)}
    prompt = ask(model.tokenizer, question)
    found = yield from read_voices(model, prompt, answers["both"], answers["unsteered"], voices)
    return {"question": question, "answers": answers, **found.summary()}


def _settings(how: Bout | Writing, a: Side, b: Side, **asked: Any) -> dict[str, Any]:
    return {"a": _described(a), "b": _described(b), "positions": str(how.positions), "system": how.system, **asked}


def _known(
    model: SteerableModel,
    a: Side,
    b: Side,
    settings: dict[str, Any],
    data: Sequence[Dataset],
    work: Callable[[], Generator[Any, None, dict[str, Any]]],
    known: Known | None,
) -> Generator[Any, None, dict[str, Any]]:
    """What `work` finds, with its papers, unless it is known."""
    known = {} if known is None else known
    provenance = {
        **model.papers,
        "data": ", ".join(one.name for one in data),
        "data_sha256": ", ".join(one.sha256 for one in data),
        **{
            f"vector_{letter}": {name: value for name, value in asdict(side.vector.provenance).items() if value}
            for letter, side in (("a", a), ("b", b))
            if side.vector
        },
    }
    steers = [[digest(steer.vector.numpy().tobytes()) for steer in side.steers] for side in (a, b)]
    layers = [[digest(v.numpy().tobytes()) for v in side.vector.layers.values()] for side in (a, b) if side.vector]
    texts = [[pair.prompt, pair.positive, pair.negative] for one in data for pair in one.pairs]
    depends = [settings, provenance, steers, layers, texts, model.device.type, model.template_sha256]
    key = digest(json.dumps(depends).encode())
    if key in known:
        known[key] = known.pop(key)  # as the latest
    else:
        papers = {"settings": settings, "provenance": provenance}
        known[key] = (yield from showing(work(), lambda part: part.summary() | papers)) | papers
        for oldest in list(known)[:-KEPT]:
            del known[oldest]
    return known[key]


def _described(side: Side) -> dict[str, Any]:
    """A voice in words and numbers."""
    added = [{"layer": steer.layer, "multiplier": steer.multiplier} for steer in side.steers]
    told = {"told": side.system, "answer_begins": side.begin}
    return {"name": side.name, "added": added, **{name: words for name, words in told.items() if words}}


def check_report(path: Path) -> None:
    """Raises InputError for a file whose ending is not of a format that is written."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} should end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")


def write_report(found: dict[str, Any], path: Path) -> None:
    """Write what `run` found (with a surface under "surface", an answer under "token_by_token", written answers under
    "written" and arms with thoughts, where there are), or what `run_surface` or `run_reasoning` found: all of it as
    JSON, items, cells or arms as CSV, figures and tables as HTML, by the file's ending.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_report(path)
    if path.suffix.lower() == ".html":
        parts = _parts(found) if "rows" in found else [_surface_part(found)] if "cells" in found else []
        parts += [_surface_part(found["surface"])] if "surface" in found else []
        parts += [_tokens_part(found["token_by_token"])] if "token_by_token" in found else []
        parts += followed_parts(Followed.of(found["written"])) if "written" in found else []
        parts += reasoning_parts(found) if "arms" in found else []
        title = " against ".join(found["settings"][side]["name"] for side in ("a", "b"))
        also = {"written answers": found["written"]["settings"]} if "written" in found else {}
        write_html(path, title, parts, found["settings"] | also, found["provenance"])
        return
    if path.suffix.lower() == ".csv":
        write_rows(path, next(found[name] for name in ("rows", "cells", "arms") if name in found))
        return
    try:
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def table_of(found: Contest) -> list[list[str]]:
    """Rows under the heads of `TABLE`: what each voice does alone, and both, beside their controls, and the cost."""
    kl = ["0.00", *("not known" if value != value else f"{value:.2f}" for value in found.kl)]
    written = [f"{share:.0%}" for share in found.repetition] if found.repetition else [""] * 4
    moved = [
        ("unsteered", "", None),
        (found.a, str(found.delta_a), found.alone_a),
        (found.b, str(found.delta_b), found.alone_b),
        ("both", str(found.delta_ab), None),
    ]
    return [
        [name, change, *([_range(alone.random), _range(alone.shuffled)] if alone else ["", ""]), nats, share]
        for (name, change, alone), nats, share in zip(moved, kl, written, strict=True)
    ]


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}"


def _parts(found: dict[str, Any]) -> list[Part]:
    contest = Contest.of(found)
    test = "" if contest.self_test is None else f"Self-test, v against −v: m changes by {contest.self_test:.2g}."
    parts = [
        Part("Verdict", f"{contest.verdict}\n{test}", figure=dominance_gauge(contest)),
        Part("Each voice alone, and both", figure=voices_apart(contest), heads=TABLE, rows=table_of(contest)),
    ]
    rows = [
        [row[name] if isinstance(row[name], str) else f"{row[name]:+.2f}" for name in ROWS] for row in found["rows"]
    ]
    return [*parts, Part("Item by item", heads=list(ROWS.values()), rows=rows)]


def _tokens_part(found: dict[str, Any]) -> Part:
    rows = [[arm, answer] for arm, answer in found["answers"].items()]
    drawn = voices_by_token(TokenVoices.of(found))
    told = f"{found['question']}\nThe answer under both, read by the unsteered model."
    return Part("Token by token", told, figure=drawn, heads=["written under", "answer"], rows=rows)


def _surface_part(found: dict[str, Any]) -> Part:
    shown = surface_of({name: value for name, value in found.items() if name not in ("settings", "provenance")})
    figure = surface_map(shown) if isinstance(shown, Surface) else crossing_map(shown)
    return Part("Surface", shown.verdict, figure=figure)

"""What a program imports as `caa_core`. Each long function runs to its end; its generator is its attribute `steps`.

`caa.extract(model, pairs)` returns the vector. `caa.extract.steps(model, pairs)` takes the same arguments and yields
how far it has come (`progress.Progress`, or what has been found so far) before it returns the vector, so that it can
be shown, take turns with other work, or be stopped by closing it.
"""

import functools
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from caa_core.contest.decomposition import without_shared as _without_shared
from caa_core.contest.requests import SECOND_VOICES, ContestRequest, ThinkingRequest
from caa_core.contest.runs import run, run_thinking
from caa_core.contest.voice import Voice
from caa_core.data.columns import Columns
from caa_core.data.pairs import Dataset
from caa_core.data.presets import Preset, find_contest, find_pairs, find_test_pairs
from caa_core.data.presets import presets as _presets
from caa_core.errors import InputError
from caa_core.measuring.costs.gate import GateFound, calibrate_gate, messages, sides_of
from caa_core.measuring.costs.strength import Strength
from caa_core.measuring.costs.strength import strength as _strength
from caa_core.measuring.evaluation import Evaluation, estimate_only
from caa_core.measuring.evaluation import evaluate as _evaluate
from caa_core.measuring.inspection import Views
from caa_core.measuring.inspection import inspect as _inspect
from caa_core.measuring.requests import EvaluationRequest, GateRequest, InspectionRequest
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.metrics.grid import parse_layers
from caa_core.metrics.options import (
    COUNTS,
    CUE,
    FACTORS,
    LAYERS,
    LETTER_SWAP,
    METHOD,
    MULTIPLIERS,
    NEW_TOKENS,
    OPERATION,
    PAPER_COUNTING,
    POSITIONS,
    READ,
    SEED,
    SHARES,
    SYSTEM,
    TEMPERATURE,
    THINK,
    positions_of,
)
from caa_core.metrics.vector_requests import ExtractionRequest, SteeringRequest
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel
from caa_core.model.loading import load as _load
from caa_core.model.prompts import ask
from caa_core.progress import Progress, finish
from caa_core.remote.host import Host
from caa_core.remote.loading import load as _load_there
from caa_core.steering.generation import SideBySide, side_by_side
from caa_core.steering.interventions import Gate, Steer, layers_named, parse_steer
from caa_core.steering.operations import ADD, Operation
from caa_core.vectors.arithmetic import share_out
from caa_core.vectors.finding import find_vector
from caa_core.vectors.formats import read_vector as _read_vector
from caa_core.vectors.formats import write_vector as _write_vector
from caa_core.vectors.known_directions import make as _make
from caa_core.vectors.method_comparison import Comparison
from caa_core.vectors.method_comparison import compare as _compare
from caa_core.vectors.spread import spread
from caa_core.vectors.vector import SteeringVector

# Contrast pairs, or what finds them: a preset's name, "hub:owner/name", or a file.
PairSource = Dataset | str | Path
# A vector, or what finds it: a preset's name, or a file.
VectorSource = SteeringVector | str | Path
# What is added: a vector, the layer to whose output it is added (or several, such as "12-15"), and the multiplier.
Spread = tuple[VectorSource, int | str | Sequence[int], float]
# Where steering applies: a vector, the layer at which it is read, and the projection above which it does. As text it is
# such as "joy:12:2.5".
GateAt = tuple[VectorSource, int, float]
# Told how far it has come.
Watch = Callable[[Progress], None]

P = ParamSpec("P")
Result = TypeVar("Result")
Found = TypeVar("Found", covariant=True)


class RunsToItsEnd(Protocol[P, Found]):
    """A function that runs to its end, and the generator behind it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Found: ...

    @property
    def steps(self) -> Callable[P, Generator[Any, None, Found]]: ...


def _nothing(progress: Progress) -> None:
    """Nobody watches."""


def _to_its_end(steps: Callable[P, Generator[Any, None, Result]]) -> RunsToItsEnd[P, Result]:
    @functools.wraps(steps)
    def whole(*args: P.args, **kwargs: P.kwargs) -> Result:
        watch = cast(Watch, kwargs.get("progress", _nothing))
        return finish(steps(*args, **kwargs), lambda event: watch(event) if isinstance(event, Progress) else None)

    whole.steps = steps  # type: ignore[attr-defined]  # functions have no declared attributes
    return cast("RunsToItsEnd[P, Result]", whole)


def load(
    model: str = DEFAULT_MODEL, *, dtype: str = "", device: str = "", host: str = "", key: str = ""
) -> SteerableModel:
    """A model by catalogue key ("smollm2-135m"), hub id, folder or `.gguf` file.

    >>> caa.load("smollm2-135m", dtype="float32").num_layers
    30

    Args:
        dtype, device: as torch names them; by default the quickest that the machine computes in.
        host: the address of an NDIF host on which the model runs, in the host's dtype; by default on this machine.
        key: what the host asks for; by default what CAA_NDIF_KEY or NDIF_API_KEY holds.

    Raises:
        InputError: there is no such model, it cannot be steered, or there is no room for it; or the host fails.
    """
    if not host:
        return _load(model, dtype, device)
    if dtype or device:
        raise InputError("A model at an NDIF host runs in the host's dtype and on its device: name neither.")
    return _load_there(model, Host.of(host, key))


def presets() -> dict[str, Preset]:
    """The behaviours that ship, by name.

    >>> caa.presets()["joy"].opposes
    'gloom'
    """
    return _presets()


def pairs(data: str | Path, *, columns: str = "") -> Dataset:
    """Contrast pairs of a preset ("joy"; "joy:ab" for its A/B version), a hub dataset ("hub:owner/name") or a file.

    >>> len(caa.pairs("joy").first(8).pairs)
    8

    Args:
        columns: "PROMPT,POSITIVE,NEGATIVE" where the file's names do not say what they hold.

    Raises:
        InputError: there is no such data, or it is not made of contrast pairs.
    """
    return find_pairs(data, _columns(columns))


def test_pairs(data: str | Path, *, columns: str = "") -> Dataset:
    """As `pairs`, but a preset's name stands for the pairs that its vector was not made from.

    >>> {pair.prompt for pair in caa.test_pairs("joy").pairs} & {pair.prompt for pair in caa.pairs("joy").pairs}
    set()
    """
    return find_test_pairs(data, _columns(columns))


def contest_pairs(data: str | Path, *, columns: str = "") -> Dataset:
    """Prompts with an answer of voice A (positive) and of voice B (negative); a preset's against the one it opposes.

    >>> caa.contest_pairs("joy").name
    'joy against gloom'
    """
    return find_contest(data, _columns(columns))


def read_vector(path: str | Path) -> SteeringVector:
    """A vector from a file of ours, a control vector of llama.cpp (GGUF), or a folder of the CAA repository.

    >>> caa.read_vector(caa.presets()["joy"].vector_file)
    SteeringVector('joy', layers 0-29, hidden size 576)

    Raises:
        InputError: it cannot be read as a vector.
    """
    return _read_vector(Path(path))


def write_vector(
    vector: SteeringVector, path: str | Path, *, layers: Sequence[int] | str = "", shares: str = SHARES.default
) -> list[str]:
    """Write a vector in the format of the path's ending; returns what that format cannot hold, in words.

    >>> caa.write_vector(caa.read_vector(caa.presets()["joy"].vector_file), folder / "joy.safetensors")
    []

    Args:
        layers: only these, such as "12-15", each times its share of a multiplier, so that a tool that adds the whole
            at each layer (llama.cpp, repeng; here with shares "whole") adds what they share.
        shares: as of `steer`.

    Raises:
        InputError: there is no such format or layer, or it cannot be written there.
    """
    if layers:
        several = layers_named(layers) if isinstance(layers, str) else layers
        vector = share_out(vector, several, SHARES.value(shares))
    return _write_vector(vector, Path(path))


@_to_its_end
def extract(
    model: SteerableModel,
    pairs: PairSource,
    *,
    layers: Sequence[int] | str | None = None,
    read: str = READ.default,
    method: str = METHOD.default,
    letter_swap: bool = LETTER_SWAP.default,
    name: str = "",
    progress: Watch = _nothing,
) -> Generator[Any, None, SteeringVector]:
    """One direction a layer from contrast pairs (Panickssery et al., arXiv 2312.06681, section 3).

    >>> vector = caa.extract(model, caa.pairs("joy").first(4), layers=[12])
    >>> vector.at(12).shape
    torch.Size([576])

    Args:
        layers: which ones, as numbers or such as "8-16"; all by default.
        read: where the residual stream is read: "auto" (the letter of lettered answers, the mean over others' tokens),
            "letter", "answer-mean", "last", "last-prompt", or a token's index such as "-2".
        method: "mean-difference", "pca", "probe" or "single".
        letter_swap: use multiple-choice pairs in both letter orders.
        name: the vector's; that of the pairs by default.

    Raises:
        InputError: a layer that the model does not have, pairs that cannot be read there or do not differ.
    """
    given = pairs if isinstance(pairs, Dataset) else find_pairs(pairs)
    how = {"layers": layers, "read": read, "method": method, "letter_swap": letter_swap, "name": name}
    asked = ExtractionRequest.parse(given=given, **how)
    numbers = asked.layers_in(model.num_layers)
    return (yield from _make(model, asked.pairs, numbers, asked.name, asked.read, asked.method))


@_to_its_end
def steer(
    model: SteerableModel,
    prompt: str,
    steers: Iterable[Spread],
    *,
    system: str = SYSTEM.default,
    positions: str = POSITIONS.default,
    max_new_tokens: int = NEW_TOKENS.default,
    temperature: float = TEMPERATURE.default,
    seed: int = SEED.default,
    factors: Sequence[float] | str = FACTORS.default,
    operation: str = OPERATION.default,
    shares: str = SHARES.default,
    gate: GateAt | str | None = None,
    think: bool = THINK.default,
    progress: Watch = _nothing,
) -> Generator[Any, None, SideBySide]:
    """Answer a prompt twice in one batch, without vectors and with them.

    >>> answers = caa.steer(model, "How was your day?", [("joy", 12, 2.0)], max_new_tokens=8)
    >>> answers.steered.text != answers.unsteered.text
    True

    Args:
        steers: (vector or preset's name or file, layer, multiplier) each; all are added at once. Several layers, such
            as "12-15", share the multiplier.
        system: what the model is told.
        positions: which tokens are steered; see `steering.interventions.Positions`.
        temperature: 0 is greedy.
        factors: also with what is added so many times as strong; the answers are in `by_factor`.
        operation: "add", "keep-norm", "ablate" or such as "cap:0", of all of them; see `steering.operations`.
        shares: of several layers: "equal", by the "norm" of the residual stream there, or the "whole" at each; see
            `vectors.spread`.
        gate: (vector or preset's name or file, layer, threshold), or such as "joy:12:2.5": only tokens are steered
            whose residual stream there points further along that vector than the threshold, h·v / ‖v‖; see
            `steering.interventions.Gate`, and `gate`, which finds a threshold.
        think: let the model think first, within `max_new_tokens`; the answers then have a `thought`, and "thought" and
            "after-thought" are positions.

    Raises:
        InputError: a layer that the model or the vector does not have, a vector of another hidden size, a gate above
            what is steered, a prompt that is too long, or a model that does not think.
    """
    asked = SteeringRequest.parse(
        prompt=prompt,
        system=system,
        positions=positions,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        factors=factors,
        operation=operation,
        shares=shares,
        think=think,
    )
    added = yield from _steers(model, steers, asked.operation, asked.shares)
    opens = (yield from _gate(model, *(parse_steer(gate) if isinstance(gate, str) else gate))) if gate else None
    rendered = ask(model.tokenizer, asked.prompt, asked.system, asked.think)
    how = asked.positions, asked.decoding, asked.factors, opens
    return (yield from side_by_side(model, rendered, added, *how))


@_to_its_end
def compare(
    model: SteerableModel,
    pairs: PairSource,
    *,
    layers: Sequence[int] | str | None = None,
    read: str = READ.default,
    letter_swap: bool = LETTER_SWAP.default,
    progress: Watch = _nothing,
) -> Generator[Any, None, Comparison]:
    """Methods of making a vector side by side: how well each tells apart pairs that it was not made from.

    >>> sorted(caa.compare(model, caa.pairs("joy").first(4), layers=[12]).separations)
    ['mean-difference', 'pca', 'probe', 'single']

    Args:
        layers: which ones, as numbers or such as "8-16"; all by default.
        read, letter_swap: as of `extract`.

    Raises:
        InputError: fewer than four prompts, or what `extract` raises.
    """
    given = pairs if isinstance(pairs, Dataset) else find_pairs(pairs)
    asked = ExtractionRequest.parse(given=given, layers=layers, read=read, letter_swap=letter_swap)
    return (yield from _compare(model, asked.pairs, asked.layers_in(model.num_layers), asked.read))


@_to_its_end
def inspect(
    model: SteerableModel,
    text: str,
    steer: Spread,
    *,
    chat: bool = True,
    positions: str = POSITIONS.default,
    operation: str = OPERATION.default,
    shares: str = SHARES.default,
    progress: Watch = _nothing,
) -> Generator[Any, None, Views]:
    """Look inside: a text along a vector, the next token, the logit lens, and what the vector says by itself.

    >>> views = caa.inspect(model, "How was your day?", ("joy", 12, 2.0))
    >>> len(views.lens.tokens[0])
    30

    Args:
        steer: vector or preset's name or file, layer or several, multiplier; along the first layer the text is read.
        chat: read the text as a person's message, else as it is.
        positions: which of the prompt's tokens are steered.
        operation, shares: as of `steer`.

    Raises:
        InputError: an empty text or one that is too long, or a layer or a vector that does not fit the model.
    """
    source, at, multiplier = steer
    layers = _layers(model, at)
    how = {"chat": chat, "positions": positions, "operation": operation, "shares": shares}
    where = {"layer": layers[0], "spread": layers[1:] and layers}
    asked = InspectionRequest.parse(text=text, multiplier=multiplier, **where, **how)
    vector = yield from _vector(model, source, layers)
    return (yield from _inspect(model, asked, vector))


@_to_its_end
def gate(
    model: SteerableModel,
    vector: VectorSource,
    layer: int,
    pairs: PairSource | None = None,
    *,
    applies: Sequence[str] = (),
    elsewhere: Sequence[str] = (),
    positions: str = POSITIONS.default,
    false_open: float | None = None,
    made_from: PairSource | None = None,
    progress: Watch = _nothing,
) -> Generator[Any, None, GateFound]:
    """Where steering should apply: a gate's threshold, and how often it is wrong on texts that it was not chosen on.

    >>> found = caa.gate(model, "joy", 12, "joy")
    >>> found.judged_on, found.is_judged
    ((9, 9), False)
    >>> answers = caa.steer(model, "Rain?", [("joy", 12, 2.0)], gate=found.spec("joy"), max_new_tokens=8)

    Args:
        pairs: steering should apply in their positive answers, and not in their negative ones; a preset's name stands
            for the pairs that its vector was not made from.
        applies, elsewhere: messages of a person, in place of pairs: where it should apply, and where it should not.
        positions: which tokens of a text are read: those that would be steered.
        false_open: the largest share of the texts where it should not apply in which it may be open, such as 0.05; by
            default as many texts as can be are decided rightly.
        made_from: the pairs that the vector was made from, where those are not a preset's; texts that have a prompt of
            theirs are left out.

    Raises:
        InputError: too few texts of a side, one that stands on both, or a layer or vector that does not fit the model.
    """
    if bool(pairs) == bool(applies or elsewhere):
        raise InputError("Give contrast pairs, or texts where steering should apply and where it should not.")
    given = {"applies": messages(applies), "elsewhere": messages(elsewhere)}
    if pairs:
        given = sides_of(pairs if isinstance(pairs, Dataset) else find_test_pairs(pairs))
    how = {"layer": layer, "positions": positions, "false_open": false_open}
    asked = GateRequest.parse(**given, made_from=_pairs(made_from), **how)
    found = yield from _vector(model, vector, [model.check_layer(asked.layer)])
    return (yield from calibrate_gate(model, asked, found))


@_to_its_end
def strength(
    model: SteerableModel,
    steers: Iterable[Spread],
    cost: float,
    *,
    positions: str = POSITIONS.default,
    answers: int | None = None,
    operation: str = OPERATION.default,
    shares: str = SHARES.default,
    progress: Watch = _nothing,
) -> Generator[Any, None, Strength]:
    """How strong vectors may be that cost so many nats of KL a token in plain answers: the smallest factor.

    >>> found = caa.strength(model, [("joy", 12, 1.0)], 0.3, answers=2)
    >>> 0.28 < found.kl < 0.32
    True

    Args:
        steers: (vector or preset's name or file, layer, multiplier) of each; multipliers keep their signs and
            proportions, and are to be multiplied with the `factor` that is found, None where none costs so much.
        cost: in nats, mean over the answers' tokens; what is found comes within 5% of it.
        positions: which tokens are steered.
        answers: how many answers are read to choose by, and as many fresh ones; by default all that there are.
        operation, shares: as of `steer`; what takes away is looked for up to a multiplier of 1.

    Raises:
        InputError: a cost that cannot be asked for, or a layer or a vector that does not fit the model.
    """
    added = yield from _steers(model, steers, OPERATION.value(operation), SHARES.value(shares))
    return (yield from _strength(model, added, cost, positions_of(positions), answers))


@_to_its_end
def evaluate(
    model: SteerableModel,
    vector: VectorSource,
    pairs: PairSource,
    *,
    layers: Sequence[int] | str = LAYERS.default,
    multipliers: Sequence[float] | str = MULTIPLIERS.default,
    positions: str = POSITIONS.default,
    cue: str = CUE.default,
    paper_counting: bool = PAPER_COUNTING.default,
    counts: bool = COUNTS.default,
    made_from: PairSource | None = None,
    controls: int = EvaluationRequest.options()["controls"].default,
    exact_controls: int = 0,
    prompts: bool = False,
    told: Sequence[str] = (),
    operation: str = OPERATION.default,
    by_methods: bool = False,
    together: bool = False,
    shares: str = SHARES.default,
    progress: Watch = _nothing,
) -> Generator[Any, None, Evaluation]:
    """What a vector does to test pairs at every layer and multiplier, and whether it is an effect.

    >>> items = caa.test_pairs("joy").first(4)
    >>> found = caa.evaluate(model, "joy", items, layers=[12], multipliers=[-1, 1], counts=False, controls=0)
    >>> [(cell.layer, cell.multiplier) for cell in found.swept.cells]
    [(12, -1.0), (12, 1.0)]

    Args:
        pairs: items that the vector was not made from; a preset's name stands for those that it holds out.
        layers: numbers, "all", "middle third" or "every third" of the vector's.
        positions: which tokens are steered. cue: words between the prompt and the answer, such as "Answer:".
        paper_counting: only the letters A and B count.
        counts: whether answers are written too, and which of the two they are.
        made_from: the pairs that the vector was made from, where those are not a preset's; a verdict takes them.
        controls: how many random vectors of the same norm, and as many from shuffled labels, its estimate is held
            against; 0 for none, and no verdict.
        exact_controls: how many of each are scored as the vector is, beside that; 0, or at least 39.
        prompts: whether system prompts that ask for the behaviour are measured beside it, alone and with the vector;
            what comes of it stands in `conclusion.verdict.told`.
        told: up to three such system prompts, in place of those of the vector's preset.
        operation: as of `steer`; estimates, and so p and a map, are there for "add" alone.
        by_methods: whether what other methods make of the same pairs is measured too; it stands in `methods`.
        together: whether all layers are steered at once; cells are then named by the first of them, and there are no
            estimates. shares: what each gets of a multiplier, as of `steer`.

    Raises:
        InputError: an option that cannot be, or no item that can be measured on the model.
    """
    given: dict[str, Any] = {"layers": layers, "multipliers": multipliers, "positions": positions, "cue": cue}
    given |= {"paper_counting": paper_counting, "counts": counts, "prompts": prompts, "told": told}
    given |= {"controls": controls, "exact_controls": exact_controls, "operation": operation, "by_methods": by_methods}
    data = pairs if isinstance(pairs, Dataset) else find_test_pairs(pairs)
    made = {"data": data, "made_from": _pairs(made_from)}
    request = EvaluationRequest.parse(**made, **given, together=together, shares=shares)
    found = yield from _vector(model, vector, request.layers_known(model.num_layers))
    return (yield from _evaluate(model, request, found))


@_to_its_end
def estimate(
    model: SteerableModel,
    vector: VectorSource,
    pairs: PairSource,
    *,
    layers: Sequence[int] | str = LAYERS.default,
    positions: str = POSITIONS.default,
    cue: str = CUE.default,
    made_from: PairSource | None = None,
    controls: int = EvaluationRequest.options()["controls"].default,
    progress: Watch = _nothing,
) -> Generator[Any, None, EstimateMap]:
    """What a vector would do to test pairs at every layer, to first order: seconds where `evaluate` takes minutes.

    >>> found = caa.estimate(model, "joy", caa.test_pairs("joy").first(4), layers=[9, 12])
    >>> [one.layer for one in found.layers]
    [9, 12]

    It is the slope at multiplier 0, and says nothing about what it costs, text that breaks, or two voices at once.

    Args:
        pairs, layers, positions, cue, made_from: as `evaluate` takes them.
        controls: how many random vectors of the same norm, and as many from shuffled labels, stand beside it; at
            least 999.

    Raises:
        InputError: an option that cannot be, no item that can be measured, or a model that cannot be differentiated.
    """
    request = EvaluationRequest.parse(
        data=pairs if isinstance(pairs, Dataset) else find_test_pairs(pairs),
        layers=layers,
        positions=positions,
        cue=cue,
        made_from=_pairs(made_from),
        controls=controls,
    )
    found = yield from _vector(model, vector, request.layers_known(model.num_layers))
    return (yield from estimate_only(model, request, found))


@_to_its_end
def compete(
    model: SteerableModel,
    a: Spread | None,
    b: Spread | None,
    pairs: PairSource,
    *,
    system_a: str = "",
    system_b: str = "",
    begin_a: str = "",
    begin_b: str = "",
    operation_a: str = OPERATION.default,
    operation_b: str = OPERATION.default,
    shares: str = SHARES.default,
    without_shared: bool = False,
    positions: str = POSITIONS.default,
    system: str = SYSTEM.default,
    controls: int = ContestRequest.options()["controls"].default,
    second_voices: int = SECOND_VOICES.default,
    made_from_a: PairSource | None = None,
    made_from_b: PairSource | None = None,
    progress: Watch = _nothing,
) -> Generator[Any, None, dict[str, Any]]:
    """Which of two voices a model follows when both are added at once, beside what adding them predicts.

    >>> prompts = caa.contest_pairs("joy").first(2)
    >>> found = caa.compete(model, ("joy", 12, 1.0), ("gloom", 14, 1.0), prompts, controls=0, second_voices=0)
    >>> found["verdict"]
    '2 prompts are too few for a verdict, which takes at least 8.'

    Args:
        a, b: (vector or preset's name or file, layer or several, multiplier) of each voice; None: words alone.
        pairs: prompts with A's answer (positive) and B's (negative); a preset's name stands for its contest with the
            one that it opposes.
        system_a, system_b: what the model is told by a voice. begin_a, begin_b: how its answer already begins.
        operation_a, operation_b, shares: what is done with each vector, as of `steer`.
        without_shared: take from both vectors what they share at each one's layer.
        system: a system prompt that is nobody's voice.
        controls: how many control vectors of each kind each voice's estimate is ranked among; 0 for none.
        second_voices: how many vectors of B's norm and cosine to A tell whether both do more than a sum; 0 for none.
        made_from_a, made_from_b: the pairs that the vectors were made from, where those are not a preset's.

    Returns:
        Plain data, as `python -m caa_core compete --json` prints it.

    Raises:
        InputError: a layer or a vector that does not fit the model, or prompts that cannot be measured on it.
    """
    data = pairs if isinstance(pairs, Dataset) else find_contest(pairs)
    asked = {"positions": positions, "system": system, "controls": controls, "second_voices": second_voices}
    request = ContestRequest.parse(data=data, **asked)
    layers = None if without_shared else sorted({n for one in (a, b) if one for n in _layers(model, one[1])})
    done = [(OPERATION.value(operation), SHARES.value(shares)) for operation in (operation_a, operation_b)]
    voice_a = yield from _voice(model, layers, "A", a, system_a, begin_a, *done[0])
    voice_b = yield from _voice(model, layers, "B", b, system_b, begin_b, *done[1])
    voice_a, voice_b = replace(voice_a, made_from=_pairs(made_from_a)), replace(voice_b, made_from=_pairs(made_from_b))
    if without_shared:
        voice_a, voice_b = _without_shared(voice_a, voice_b)
    return (yield from run(model, request, voice_a, voice_b))


@_to_its_end
def think(
    model: SteerableModel,
    a: Spread,
    b: Spread,
    pairs: PairSource,
    *,
    prompts: int = ThinkingRequest.options()["prompts"].default,
    thoughts: int = ThinkingRequest.options()["thoughts"].default,
    tokens: int = ThinkingRequest.options()["tokens"].default,
    seed: int = ThinkingRequest.options()["seed"].default,
    temperature: float = ThinkingRequest.options()["temperature"].default,
    positions: str = POSITIONS.default,
    operation_a: str = OPERATION.default,
    operation_b: str = OPERATION.default,
    shares: str = SHARES.default,
    progress: Watch = _nothing,
) -> Generator[Any, None, dict[str, Any]]:
    """Which of two voices a model follows that thinks aloud before it answers, in eight arms; see `contest.thinking`.

    >>> pairs = caa.contest_pairs("joy").first(2)
    >>> found = caa.think(model, ("joy", 12, 1.0), ("gloom", 12, 1.0), pairs, prompts=1, thoughts=1, tokens=8)
    >>> {"direct", "steered", "filler"} <= {arm["arm"] for arm in found["arms"]}
    True

    Args:
        a, b, pairs, positions, operation_a, operation_b, shares: as of `compete`.
        prompts: how many of them are asked; thoughts: how many are drawn for each; tokens: of a thought, at most.

    Raises:
        InputError: what `compete` raises, and more prompts, thoughts or tokens than can be asked for.
    """
    data = pairs if isinstance(pairs, Dataset) else find_contest(pairs)
    how = {"prompts": prompts, "thoughts": thoughts, "tokens": tokens, "seed": seed, "temperature": temperature}
    thinking = ThinkingRequest.parse(**how)
    request = ContestRequest.parse(data=data, positions=positions)
    layers = sorted({layer for added in (a, b) for layer in _layers(model, added[1])})
    operations, parts = [OPERATION.value(one) for one in (operation_a, operation_b)], SHARES.value(shares)
    voice_a = yield from _voice(model, layers, "A", a, operation=operations[0], shares=parts)
    voice_b = yield from _voice(model, layers, "B", b, operation=operations[1], shares=parts)
    return (yield from run_thinking(model, request, voice_a, voice_b, thinking))


def _pairs(source: PairSource | None) -> Dataset | None:
    return find_pairs(source) if isinstance(source, str | Path) else source


def _columns(named: str) -> Columns | None:
    return Columns.parse(named) if named else None


def _steers(
    model: SteerableModel, added: Iterable[Spread], operation: Operation, shares: str
) -> Generator[Any, None, tuple[Steer, ...]]:
    found: list[Steer] = []
    for source, asked, multiplier in added:
        layers = _layers(model, asked)
        found += spread((yield from _vector(model, source, layers)), layers, multiplier, operation, shares)
    return tuple(found)


def _gate(model: SteerableModel, source: VectorSource, layer: int, threshold: float) -> Generator[Any, None, Gate]:
    vector = yield from _vector(model, source, [model.check_layer(layer)])
    return Gate(vector.at(layer), layer, threshold)


def _layers(model: SteerableModel, asked: int | str | Sequence[int]) -> list[int]:
    if isinstance(asked, str):
        return parse_layers(asked, model.num_layers)
    return [model.check_layer(layer) for layer in ([asked] if isinstance(asked, int) else asked)]


def _voice(
    model: SteerableModel,
    layers: Sequence[int] | None,
    letter: str,
    added: Spread | None,
    system: str = "",
    begin: str = "",
    operation: Operation = ADD,
    shares: str = SHARES.default,
) -> Generator[Any, None, Voice]:
    """layers: those that a vector made on the spot needs. Raises InputError where there is nothing of the voice."""
    if not (added or system or begin):
        raise InputError(f"Give voice {letter} a vector, a system prompt or the beginning of an answer.")
    if not added:
        return Voice(f"{'prompt' if system else 'words'} {letter}", (), system, begin)
    source, asked, multiplier = added
    vector = yield from _vector(model, source, layers)
    how = {"system": system, "prefill": begin, "shares": shares}
    return Voice.of(vector, _layers(model, asked), multiplier, operation=operation, **how)


def _vector(
    model: SteerableModel, source: VectorSource, layers: Sequence[int] | None
) -> Generator[Any, None, SteeringVector]:
    return source if isinstance(source, SteeringVector) else (yield from find_vector(model, source, layers))

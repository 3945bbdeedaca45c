"""Will it steer? What the pairs say before anything is steered, by layer, beside their labels exchanged by coins.

How far the pairs' differences agree with their mean, and how well both sides are separated along it, goes with how well
a vector steers: Braun et al., "Understanding (Un)Reliability of Steering Vectors in Language Models", arXiv 2505.22637.
All of it is of prompts: what belongs to one (copies, both letter orders) counts by its mean.
"""

import json
import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any, TypeVar

import numpy as np
import torch

from caa_core.data.pairs import Dataset
from caa_core.errors import InputError
from caa_core.progress import Progress
from caa_core.steering.activations import products_of
from caa_core.vectors.splits import parts, prompts_of

# Prompts below which nothing is said; prompts that are kept, drawn evenly from all of them; and numbers of both sides
# together (4 bytes each): memory does not grow with the pairs.
ENOUGH, MOST_PROMPTS, MOST_NUMBERS = 8, 200, 50_000_000

# Times that labels are exchanged, and p up to which pairs are said to point one way.
CONTROLS, LEVEL = 199, 0.05

# How far two sums of the same numbers differ in another order: of few prompts some controls exchange none, or all.
TIE = 1e-5

# Parts that are held out in turns, and prompts of each, at least.
FOLDS, IN_A_FOLD = 10, 4

# How far a vector has to lie along a known direction (cosine; 0.2 is 4% of its squared norm) for it to be said.
OVERLAP = 0.2

# How much nearer twice as many pairs have to bring a vector (in cosine) to that of endless pairs to be worth it.
NEARER = 0.05

MAY, NOT_LIKELY = "may steer", "not likely"

NAMES = ("agreement", "reliability", "d_prime", "auc")

# Directions that are known on a model, in words; and what is said of a vector along or against one.
REFUSAL, LETTER = "refusal", "letter"
NAMED = {REFUSAL: "refusal", LETTER: "the letter, the earlier one less the later"}
PARTS = {
    (REFUSAL, True): "lies along refusal: the model may decline more. Look inside counts refusals.",
    (REFUSAL, False): "goes against refusal: the model may decline less. Look inside counts refusals.",
    (LETTER, True): "is an answer's letter, not the behaviour: use both letter orders.",
    (LETTER, False): "is an answer's letter, not the behaviour: use both letter orders.",
}


@dataclass(frozen=True)
class Measured:
    """A number with its 95% interval over prompts (jackknife), and what 95% of controls lie within: the same pairs
    with the sides of each prompt exchanged or not by a coin, or what `beside` says. None where there is none.
    """

    value: float | None
    low: float | None
    high: float | None
    controls: tuple[float, float] | None
    beside: str = "labels exchanged"

    def __str__(self) -> str:
        if self.value is None:
            return "none"
        parts = [] if self.low is None else [f"95% interval {self.low:.2f} to {self.high:.2f}"]
        parts += [f"{self.beside} {self.controls[0]:.2f} to {self.controls[1]:.2f}"] if self.controls else []
        return f"{self.value:.2f} ({'; '.join(parts)})" if parts else f"{self.value:.2f}"


@dataclass(frozen=True)
class Overlap(Measured):
    """Cosine of the pairs' mean difference to a known direction. Its controls are what two halves of the same prompts,
    drawn by coins, differ by, whichever side an answer is on: the same texts, and nothing of the behaviour.
    """

    beside: str = "halves of the prompts"

    @property
    def is_said(self) -> bool:
        """Whether it is large, clear of 0, and further than its controls."""
        if self.value is None or self.low is None or self.high is None or not self.controls:
            return False
        clear = self.low > 0 or self.high < 0
        return clear and abs(self.value) >= OVERLAP and not self.controls[0] <= self.value <= self.controls[1]


M = TypeVar("M", bound=Measured)


@dataclass(frozen=True)
class LayerDiagnostics:
    """agreement: mean cosine of the prompts' differences to their mean.

    reliability: how far the means of two halves of the prompts agree, over all ways to split them, corrected to all
    prompts (Spearman and Brown). That is Cronbach's alpha of the differences, and the squared cosine to expect between
    the vector and that of endless pairs. 0 where halves have nothing in common, 1 where they are the same.

    d_prime: distance of the two sides' means along the direction made from the other prompts, in standard deviations
    within a side; auc: how often a positive answer lies above a negative one there. Both over prompts held out.
    """

    agreement: Measured
    reliability: Measured
    d_prime: Measured
    auc: Measured


@dataclass(frozen=True)
class Diagnostics:
    """Of a vector. prompts: that its pairs have; layers: none where these are fewer than `ENOUGH`.

    p: that of the largest agreement over the layers, each in its controls' spread, among the same of `CONTROLS`
    exchanges of labels. overlap: with directions that are known on the model, by their names and layers.
    """

    prompts: int
    p: float | None = None
    layers: Mapping[int, LayerDiagnostics] = field(default_factory=dict)
    overlap: Mapping[str, Mapping[int, Overlap]] = field(default_factory=dict)

    @property
    def best(self) -> int | None:
        """The layer at which the pairs agree most reliably."""
        found = {layer: one.reliability.value for layer, one in self.layers.items()}
        return max(found, key=lambda layer: found[layer] or 0.0) if found else None

    @property
    def grade(self) -> str:
        """`MAY`, `NOT_LIKELY`, or empty where it is not judged."""
        if self.p is None:
            return ""
        return MAY if self.p <= LEVEL else NOT_LIKELY

    @property
    def nearer(self) -> tuple[float, float] | None:
        """The cosine to expect with the vector of endless pairs, at the best layer: now, and with twice the pairs."""
        alpha = self.layers[self.best].reliability.value if self.best is not None else None
        if alpha is None:
            return None
        alpha = min(max(alpha, 0.0), 1.0)
        return math.sqrt(alpha), math.sqrt(2 * alpha / (1 + alpha))

    @property
    def more_pairs_help(self) -> bool:
        """Whether twice as many pairs would bring the vector clearly nearer to that of endless pairs."""
        return self.grade == MAY and self.nearer is not None and self.nearer[1] - self.nearer[0] >= NEARER

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "prompts": self.prompts,
            "p": self.p,
            "grade": self.grade,
            "more_pairs_help": self.more_pairs_help,
            "text": str(self),
        }

    @property
    def said(self) -> str:
        """Whether it may steer, in a few words."""
        if self.prompts < ENOUGH:
            are = "prompt is" if self.prompts == 1 else "prompts are"
            return f"Whether it will steer is not judged: {self.prompts} {are} too few, which takes at least {ENOUGH}."
        if self.p is None:
            return "Whether it will steer is not judged: its pairs do not differ."
        if self.grade == NOT_LIKELY:
            return (
                "It is not likely to steer: its pairs are not shown to point one way, no more than with their sides "
                f"exchanged by coins (p = {self.p:.2g}). Are both sides exchanged in some pairs, or do they differ in "
                "something else each time?"
            )
        text = f"It may steer: its pairs point one way (p = {self.p:.2g})."
        if self.nearer and self.more_pairs_help:
            text += (
                " More pairs would help: twice as many would bring its cosine to the vector of endless pairs from "
                f"{self.nearer[0]:.2f} to {self.nearer[1]:.2f}, as the halves say."
            )
        return f"{text} Steering takes that, and it is no proof: Measure says what it does to answers."

    @property
    def parts(self) -> list[str]:
        """What is said of known directions that are a part of it, at the best layer."""
        best = -1 if self.best is None else self.best
        found = {name: by_layer[best] for name, by_layer in self.overlap.items() if best in by_layer}
        said = {name: one.value for name, one in found.items() if one.is_said and one.value is not None}
        return [f"A part of it (cosine {cosine:+.2f}) {PARTS[name, cosine > 0]}" for name, cosine in said.items()]

    @property
    def numbers(self) -> str:
        """What that rests on, in words; empty where there are none."""
        if self.best is None:
            return ""
        found = self.layers[self.best]
        return (
            f"At layer {self.best}, where they agree best: cosine of a pair's difference to their mean "
            f"{found.agreement}; agreement of two halves of the pairs, corrected to all of them, {found.reliability}; "
            f"of pairs held out, AUC {found.auc} and d′ {found.d_prime}."
            + "".join(f" Along {NAMED[name]}: {by_layer[self.best]}." for name, by_layer in self.overlap.items())
        )

    def __str__(self) -> str:
        return " ".join(filter(None, (self.said, *self.parts, self.numbers)))

    def at(self, layer: int) -> dict[str, Any]:
        """A layer's numbers as plain data; none where they are not known."""
        if layer not in self.layers:
            return {}
        overlap = {name: asdict(by_layer[layer]) for name, by_layer in self.overlap.items() if layer in by_layer}
        return {**asdict(self.layers[layer]), **({"overlap": overlap} if overlap else {})}

    def packed(self) -> str:
        """As JSON, for a file."""
        rows = {
            str(layer): [_listed(getattr(one, name)) for name in NAMES] for layer, one in sorted(self.layers.items())
        }
        along = {
            name: {str(layer): _listed(one) for layer, one in sorted(by_layer.items())}
            for name, by_layer in self.overlap.items()
        }
        kept = {"prompts": self.prompts, "p": self.p, "names": NAMES, "layers": rows}
        return json.dumps({**kept, **({"overlap": along} if along else {})})

    @classmethod
    def unpacked(cls, text: str, layers: Collection[int]) -> "Diagnostics":
        """What was packed, of these layers. Raises InputError for anything else."""
        try:
            kept = json.loads(text)
            rows = {layer: kept["layers"][str(layer)] for layer in sorted(layers) if str(layer) in kept["layers"]}
            found = {layer: LayerDiagnostics(*map(_unlisted, row)) for layer, row in rows.items()}
            p = None if kept["p"] is None else _number(kept["p"])
            along = kept.get("overlap", {})  # what was kept before has none
            overlap = {
                name: {layer: _unlisted(along[name][str(layer)], Overlap) for layer in found}
                for name in NAMED
                if name in along
            }
            return cls(int(kept["prompts"]), p, found, overlap)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise InputError("its diagnostics are not what was measured of pairs") from error


def _listed(found: Measured) -> list[float | None]:
    return [found.value, found.low, found.high, *(found.controls or (None, None))]


def _unlisted(kept: Sequence[Any], kind: type[M] = Measured) -> M:  # type: ignore[assignment]
    value, low, high, *controls = (None if number is None else _number(number) for number in kept)
    below, above = controls
    return kind(value, low, high, None if below is None or above is None else (below, above))


def _number(kept: Any) -> float:
    number = float(kept)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


# Directions by their names and layers.
Known = Mapping[str, Mapping[int, torch.Tensor]]
NOTHING_KNOWN: Known = {}


class KeptPrompts:
    """Prompts that are looked at, drawn evenly from all: `most` of them at most.

    prompts: how many there are in all. firsts: the first pair of each that is kept. place: which of these each pair
    belongs to, -1 for none, [pairs].
    """

    def __init__(self, dataset: Dataset, most: int):
        of = prompts_of(dataset.pairs)
        self.prompts = max(of) + 1
        kept = np.linspace(0, self.prompts - 1, min(self.prompts, most)).round().astype(int).tolist()
        places = {prompt: place for place, prompt in enumerate(kept)}
        self.firsts = [dataset.pairs[of.index(prompt)] for prompt in kept]
        self.place = torch.tensor([places.get(prompt, -1) for prompt in of])

    @property
    def weights(self) -> torch.Tensor:
        """What averages the pairs of each that is kept, [kept, pairs]."""
        members = self.place == torch.arange(len(self.firsts))[:, None]
        return members / members.sum(1, keepdim=True)

    def folds(self, places: Sequence[int] | None = None) -> np.ndarray:
        """Which part each of those that are kept, or of some of them, is held out with, [prompts]."""
        pairs = self.firsts if places is None else [self.firsts[place] for place in places]
        found = np.zeros(len(pairs), dtype=int)
        for fold, indices in enumerate(parts(pairs, max(2, min(FOLDS, len(pairs) // IN_A_FOLD)))):
            found[indices] = fold
        return found


class PromptSides:
    """Collects what is read at both answers, the mean over the pairs of each prompt that is kept: `positive` and
    `negative` are [layers, prompts, hidden_size], of at most `MOST_PROMPTS` prompts. See `activations.read_all`.
    """

    def __init__(self, dataset: Dataset, layers: int, hidden_size: int):
        self.kept = KeptPrompts(dataset, min(MOST_PROMPTS, max(1, MOST_NUMBERS // (2 * layers * hidden_size))))
        self.positive = torch.zeros(layers, len(self.kept.firsts), hidden_size, dtype=torch.float32)
        self.negative = torch.zeros_like(self.positive)
        self._shares = self.kept.weights.sum(0)  # of each pair in its prompt's mean

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        places = self.kept.place[pairs]
        there = places >= 0
        shares = self._shares[pairs][there, None]
        for total, read in ((self.positive, positive), (self.negative, negative)):
            total.index_add_(1, places[there], shares * read[:, there])


def diagnose(
    sides: PromptSides, layers: Sequence[int], known: Known = NOTHING_KNOWN
) -> Generator[Progress, None, Diagnostics]:
    """Look through all layers that were read. Yields `Progress`, one a layer.

    Args:
        known: directions [hidden_size], by their names and layers, to which cosines are taken.
    """
    overlap: dict[str, dict[int, Overlap]] = {name: {} for name in known}
    signs = _exchanges(len(sides.kept.firsts))

    def each() -> Iterator[torch.Tensor]:
        for layer, *both in zip(layers, sides.positive, sides.negative, strict=True):
            for name, by_layer in known.items():
                positive, negative = (side.double().numpy() for side in both)
                overlap[name][layer] = overlap_with(by_layer[layer].double().numpy(), positive, negative, signs)
            yield products_of(*both)

    found = yield from diagnose_products(each(), layers, sides.kept.prompts, sides.kept.folds())
    return replace(found, overlap=overlap) if found.layers else found


def diagnose_products(
    products: Iterable[torch.Tensor], layers: Sequence[int], prompts: int, fold_of: np.ndarray
) -> Generator[Progress, None, Diagnostics]:
    """The same of what `products_of` gives at each layer. Yields `Progress`, one a layer.

    Args:
        prompts: how many there are in all.
        fold_of: which part each of those that are kept is held out with, [kept].
    """
    kept = len(fold_of)
    if kept < ENOUGH:
        return Diagnostics(prompts)
    signs = np.concatenate([np.ones((1, kept)), _exchanges(kept)])
    progress = Progress(len(layers), "layers looked through", len(layers))
    found, agreements = {}, []
    for layer, one in zip(layers, products, strict=True):
        found[layer], agreement = PairGeometry.of(one, fold_of).diagnostics(signs, prompts / kept)
        agreements.append(agreement)
        yield progress.advance(1, 1)
    return Diagnostics(prompts, _p_of_largest(np.stack(agreements, axis=1)), found)


@np.errstate(all="ignore")
def overlap_with(direction: np.ndarray, positive: np.ndarray, negative: np.ndarray, signs: np.ndarray) -> Overlap:
    """Cosine of the mean difference of both sides, [prompts, hidden_size] each, to a direction [hidden_size].

    signs: which half each prompt is in, [controls, prompts].
    """
    unit = direction / np.linalg.norm(direction)
    differences, middles = positive - negative, (positive + negative) / 2
    middles = middles - middles.mean(0)
    halves = signs - signs.mean(1, keepdims=True)  # halves of unlike sizes differ by their means all the same
    total = differences.sum(0)
    without = total - differences
    found = np.concatenate([_cosines(total[None], unit), _cosines(halves @ middles, unit)])
    one = _measured(found, _cosines(without, unit), lambda cosines: cosines.clip(-1, 1))
    return Overlap(one.value, one.low, one.high, one.controls)


def _cosines(rows: np.ndarray, unit: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows @ unit / np.linalg.norm(rows, axis=1)
    return found


def _exchanges(prompts: int) -> np.ndarray:
    """Signs [controls, prompts]: `CONTROLS` that coins give; or all that there are, each once, where these are no more.
    Signs and their opposites say the same, so the first prompt's stays; and where none is exchanged is no control.
    """
    if prompts <= 1 + math.log2(1 + CONTROLS):
        each = np.array(list(product([1.0, -1.0], repeat=prompts - 1)))[1:]
        return np.concatenate([np.ones((len(each), 1)), each], axis=1)
    return np.random.default_rng(0).choice([-1.0, 1.0], (CONTROLS, prompts))


def _p_of_largest(found: np.ndarray) -> float | None:
    """p of the first row of [1 + controls, layers], by the largest over the layers in the controls' spread."""
    spread = found[1:].std(0)
    with np.errstate(all="ignore"):
        far = np.where(spread > 0, (found - found[1:].mean(0)) / spread, -np.inf).max(1)
    own, controls = far[0], far[1:]
    if not np.isfinite(own):
        return None
    return float((1 + (controls >= own - TIE * abs(own)).sum()) / (1 + len(controls)))


@dataclass(frozen=True, eq=False)
class PairGeometry:
    """Inner products at a layer, of which all numbers are made.

    gram: of the prompts' differences, [prompts, prompts]. positive, negative: of what was read at either side (rows)
    with the differences. fold_of: [prompts].
    """

    gram: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    fold_of: np.ndarray

    @classmethod
    def of(cls, products: torch.Tensor, fold_of: np.ndarray) -> "PairGeometry":
        """From what `products_of` gives."""
        gram, middles = products.double().numpy()
        return cls(gram, middles + gram / 2, middles - gram / 2, fold_of)

    @np.errstate(all="ignore")
    def diagnostics(self, signs: np.ndarray, times: float) -> tuple[LayerDiagnostics, np.ndarray]:
        """Of the pairs, beside those with labels exchanged; and the agreement under each of `signs`.

        Args:
            signs: [1 + controls, prompts], the first all 1.
            times: how many times as many prompts the vector is made from.
        """
        agreements, prompts = self.agreement(signs), len(self.fold_of)
        above, below = self.held_out(signs)
        own = above[:, :1], below[:, :1], self.fold_of, 1 - np.eye(prompts)
        folds = len(np.unique(self.fold_of))
        # Folds share the pairs that directions are made from: Nadeau and Bengio, "Inference for the Generalization
        # Error", Machine Learning 52, 2003.
        shared = math.sqrt(1 + folds / (folds - 1))

        def corrected(ratios: np.ndarray) -> np.ndarray:
            return reliability(ratios, prompts, times)

        auc = _measured(aucs(above, below, self.fold_of), aucs(*own), lambda shares: shares.clip(0, 1), shared)
        found = LayerDiagnostics(
            _measured(agreements, self.agreement_without(), lambda cosines: cosines.clip(-1, 1)),
            _measured(self.log_ratio(signs), self.log_ratio_without(), corrected),
            _measured(d_primes(above, below, self.fold_of), d_primes(*own), lambda distances: distances, shared),
            _no_narrower_than_coins(auc, prompts),
        )
        return found, agreements

    def agreement(self, signs: np.ndarray) -> np.ndarray:
        """Mean cosine of the differences to their mean, [signs]."""
        along = signs @ self.gram
        cosines = signs * along / np.sqrt(self._squares)
        found: np.ndarray = cosines.mean(1) / np.sqrt((along * signs).sum(1))
        return found

    def agreement_without(self) -> np.ndarray:
        """The same without each of the prompts, [prompts]."""
        along = self.gram.sum(0)
        cosines = (along - self.gram) / np.sqrt(self._squares)  # of all (columns) to the sum without one (rows)
        np.fill_diagonal(cosines, 0)
        found: np.ndarray = cosines.sum(1) / (len(along) - 1) / np.sqrt(self._sums_without)
        return found

    def log_ratio(self, signs: np.ndarray) -> np.ndarray:
        """Logarithm of the sum's squared norm over the sum of squared norms, [signs]: 0 where nothing is in common."""
        found: np.ndarray = np.log(((signs @ self.gram) * signs).sum(1) / self._squares.sum())
        return found

    def log_ratio_without(self) -> np.ndarray:
        """The same without each of the prompts, [prompts]."""
        found: np.ndarray = np.log(self._sums_without / (self._squares.sum() - self._squares))
        return found

    def held_out(self, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Projections of both sides of each prompt on the direction made from the other folds, under each of `signs`:
        [prompts, signs] each.
        """
        above, below = np.empty((2, len(self.fold_of), len(signs)))
        for fold in np.unique(self.fold_of):
            held = self.fold_of == fold
            made = signs[:, ~held]
            length = np.sqrt(((made @ self.gram[np.ix_(~held, ~held)]) * made).sum(1))
            sides = (side[np.ix_(held, ~held)] @ made.T / length for side in (self.positive, self.negative))
            positive, negative = sides
            kept = signs[:, held].T > 0
            above[held], below[held] = np.where(kept, positive, negative), np.where(kept, negative, positive)
        return above, below

    @property
    def _squares(self) -> np.ndarray:
        """Squared norms of the differences, [prompts]."""
        found: np.ndarray = np.diag(self.gram)
        return found

    @property
    def _sums_without(self) -> np.ndarray:
        """Squared norms of the sums without each prompt, [prompts]."""
        along = self.gram.sum(0)
        found: np.ndarray = along.sum() - 2 * along + self._squares
        return found


def reliability(ratios: np.ndarray, prompts: int, times: float = 1.0) -> np.ndarray:
    """Cronbach's alpha of so many prompts by `log_ratio`s, corrected to so many times as many (Spearman and Brown)."""
    alpha = (prompts / (prompts - 1) * (1 - np.exp(-ratios))).clip(-1, 1)
    found: np.ndarray = np.where(alpha > 0, times * alpha / (1 + (times - 1) * alpha), alpha)
    return found


def aucs(above: np.ndarray, below: np.ndarray, fold_of: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """How often one of `above` lies above one of `below` in its fold, [...]: both are [prompts, ...], or [prompts, 1]
    where prompts have weights [prompts, ...].
    """
    weights = np.ones_like(above) if weights is None else weights
    wins, total = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for fold in np.unique(fold_of):
        held = fold_of == fold
        x, y, w = above[held][:, None], below[held][None], weights[held]
        both = w[:, None] * w[None]
        wins += (both * ((x > y) + 0.5 * (x == y))).sum((0, 1))
        total += both.sum((0, 1))
    found: np.ndarray = wins / total
    return found


def d_primes(
    above: np.ndarray, below: np.ndarray, fold_of: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Distance of the means of both sides in standard deviations within a side and a fold; shapes as of `aucs`."""
    weights = np.ones_like(above) if weights is None else weights
    apart = (weights * (above - below)).sum(0) / weights.sum(0)
    squares, free = np.zeros(weights.shape[1]), -2.0 * len(np.unique(fold_of))
    for fold in np.unique(fold_of):
        held = fold_of == fold
        w = weights[held]
        for side in (above[held], below[held]):
            off = side - side.mean(0)
            squares += (w * off**2).sum(0) - (w * off).sum(0) ** 2 / w.sum(0)
    free = free + 2 * weights.sum(0)
    found: np.ndarray = apart / np.sqrt(squares / free)
    return found


def _measured(
    found: np.ndarray, without: np.ndarray, scale: Callable[[np.ndarray], np.ndarray], widened: float = 1.0
) -> Measured:
    """Of numbers [1 + controls], and of the first without each prompt, [prompts]: with a jackknife's t interval.

    Args:
        scale: brings them to the scale on which they are said.
        widened: what the interval is times.
    """
    from scipy.stats import t  # a second of imports, which only who makes vectors needs

    count = len(without)
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    reach = widened * t.ppf(0.975, count - 1) * error
    value, low, high = (_finite(end) for end in scale(np.array([found[0], found[0] - reach, found[0] + reach])))
    there = scale(found[1:])
    there = there[np.isfinite(there)]
    below, above = map(float, np.percentile(there, [2.5, 97.5])) if len(there) else (0.0, 0.0)
    controls = (below, above) if len(there) else None
    if low is None or high is None or low >= high:
        return Measured(value, None, None, controls)
    return Measured(value, low, high, controls)


def _no_narrower_than_coins(found: Measured, prompts: int) -> Measured:
    """A share with an interval that is no narrower than the exact one of as many coins: where all are told apart, what
    differs between them was not seen.
    """
    from scipy.stats import beta

    if found.value is None:
        return found
    hits = found.value * prompts
    low = beta.ppf(0.025, hits, prompts - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(0.975, hits + 1, prompts - hits) if hits < prompts else 1.0
    ends = [end for end in (found.low, low) if end is not None], [end for end in (found.high, high) if end is not None]
    return replace(found, low=float(min(ends[0])), high=float(max(ends[1])))


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None

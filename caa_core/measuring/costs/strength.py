"""How strong a vector may be at a cost: the smallest multiplier at which steering costs so much KL.

KL is not monotone in the multiplier, so that it is looked for from 0 outwards, and not by halving a range. What is
found on some answers is measured on fresh ones, too.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caa_core.errors import InputError
from caa_core.measuring.costs.answers import answers_on, plain_answers, relative_size, token_costs
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, in_stages
from caa_core.steering.interventions import AFTER_PROMPT, Positions, scaled
from caa_core.steering.scoring import Steers

# How far a cost may be from the one that is asked for, beside it, where it is chosen; and on fresh answers.
WITHIN, FRESH = 0.05, 0.1

# Factors are tried a step apart, so many in one go; a hump is looked at that comes to half of what is asked; and the
# smallest factor is found but for so much.
STEP, TOGETHER, HUMP, RESOLUTION = 2**0.5, 4, 0.5, 1.02

# What is added beside the residual stream: where the search begins, and where it ends.
SHORTEST, LONGEST = 0.05, 16.0

# A cost, of what is asked, below which smaller factors are taken to cost less.
LITTLE = 0.05
MOST_ROUNDS = 40
LEAST_ASKED, MOST_ASKED = 0.001, 20.0  # nats

# Plain answers that are read where many vectors are to cost the same.
FOR_CONTROLS = 8

# The mean costs of some factors.
Costs = Callable[[list[float]], Generator[Any, None, Sequence[float]]]


@dataclass(frozen=True)
class Strength:
    """The smallest factor by which additions cost within 5% of what was asked for, in nats a token.

    wanted: what was asked for. factor: what their multipliers are multiplied with; None where no factor up to `largest`
    costs so much, or where the cost jumps past it. kl, p95: mean cost of the tokens of the answers on which it was
    chosen, and what 95% of them cost at most; fresh_kl, fresh_p95: of others. tried: factor and mean cost of all that
    were tried, rising.
    """

    wanted: float
    factor: float | None
    largest: float
    tried: tuple[tuple[float, float], ...]
    tokens: int
    kl: float | None = None
    p95: float | None = None
    fresh_tokens: int = 0
    fresh_kl: float | None = None
    fresh_p95: float | None = None

    @classmethod
    def of(cls, kept: Any) -> "Strength":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, "The strength that was")

    @property
    def holds(self) -> bool | None:
        """Whether fresh answers cost within 10% of what was asked for; None where there is no factor."""
        return None if self.fresh_kl is None else abs(self.fresh_kl - self.wanted) <= FRESH * self.wanted

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {**plain(self), "holds": self.holds}

    def __str__(self) -> str:
        if self.factor is None:
            most = max((cost for _, cost in self.tried if math.isfinite(cost)), default=0.0)
            why = "the cost jumps past it" if most > self.wanted else f"the most that it costs is {most:.3g}"
            return f"A cost of {self.wanted:g} nats is not reachable: up to × {self.largest:.3g} {why}."
        text = (
            f"× {self.factor:g} costs {self.kl:.3g} nats of KL a token (95% of tokens: up to {self.p95:.3g}), mean "
            f"over {self.tokens} tokens of plain answers; asked for: {self.wanted:g}. On {self.fresh_tokens} tokens of "
            f"fresh answers it costs {self.fresh_kl:.3g} (95%: up to {self.fresh_p95:.3g})"
        )
        return f"{text}." if self.holds else f"{text}, which is more than 10% off: it depends on the text."


def check_asked(nats: float) -> float:
    """Raises InputError for a cost that cannot be asked for."""
    if not LEAST_ASKED <= nats <= MOST_ASKED:
        raise InputError(f"A cost must be between {LEAST_ASKED:g} and {MOST_ASKED:g} nats, not {nats:g}.")
    return nats


# What rounds of passes cost beside each other, as many as there mostly are: how far down it begins, the steps upwards,
# what is narrowed down, and what was found on either half.
ROUNDS = [("answers read", 1.0 + factors) for factors in (2, TOGETHER, TOGETHER, 3, 3, 1, 1)]


@handed_over
def strength(
    model: SteerableModel,
    steers: Steers,
    asked: float,
    positions: Positions = AFTER_PROMPT,
    most: int | None = None,
) -> Generator[Progress, None, Strength]:
    """How strong some additions are that cost `asked` nats of KL a token in plain answers. Yields `Progress`.

    Args:
        steers: keep their signs and proportions. What takes away is tried up to a multiplier of 1, beyond which there
            is nothing left of the same to take.
        most: how many answers are read to choose by, and as many fresh ones; None for all.

    Raises:
        InputError: a cost that cannot be asked for, or nothing is added.
    """
    return (yield from in_stages(_strength(model, steers, check_asked(asked), positions, most), ROUNDS))


def _strength(
    model: SteerableModel, steers: Steers, asked: float, positions: Positions, most: int | None
) -> Generator[Progress, None, Strength]:
    answers, fresh = (answers_on(model, pairs[:most]) for pairs in plain_answers())
    size = relative_size(model, answers, steers)

    def costs(factors: list[float]) -> Generator[Progress, None, Sequence[float]]:
        return (yield from token_costs(model, answers, steers, factors, positions)).mean(1).tolist()

    whole = min(steer.operation.largest / abs(steer.multiplier) for steer in steers if steer.multiplier)
    largest = min(LONGEST / size, whole)
    factor, known = yield from smallest_factor(costs, asked, min(SHORTEST / size, largest / TOGETHER), largest)
    if factor and factor > whole:  # the search goes on by several steps at once
        factor = None
    tried = tuple(sorted((tried, cost) for tried, cost in known.items() if tried <= whole))
    tokens = sum(len(answer.ids) - answer.start for answer in answers)
    if factor is None:
        return Strength(asked, None, largest, tried, tokens)
    factor = _rounded_up(factor)
    (chosen,) = yield from token_costs(model, answers, steers, [factor], positions)
    (other,) = yield from token_costs(model, fresh, steers, [factor], positions)
    return Strength(
        asked,
        factor,
        largest,
        tried,
        tokens,
        kl=float(chosen.mean()),
        p95=float(np.percentile(chosen, 95)),
        fresh_tokens=len(other),
        fresh_kl=float(other.mean()),
        fresh_p95=float(np.percentile(other, 95)),
    )


@handed_over
def as_costly(
    model: SteerableModel,
    like: Steers,
    steers: Steers,
    positions: Positions = AFTER_PROMPT,
    most: int | None = None,
) -> Generator[Progress, None, Strength]:
    """How strong some additions are that cost what others do in plain answers, which is the `Strength.wanted`. Yields
    `Progress`.

    Args:
        most: as of `strength`.

    Raises:
        InputError: one of the two adds nothing, or the others cost so little or so much that it is not looked for.
    """
    answers = answers_on(model, plain_answers()[0][:most])
    (cost,) = yield from token_costs(model, answers, like, [1.0], positions)
    return (yield from strength(model, steers, check_asked(float(cost.mean())), positions, most))


def at_equal_cost(
    model: SteerableModel, steers: Steers, controls: Sequence[Steers], positions: Positions = AFTER_PROMPT
) -> Generator[Progress, None, tuple[float, list[Steers]]]:
    """What additions cost in plain answers, in nats a token; and controls as strong as cost the same. Those that cannot
    cost so much are left out. Yields `Progress`.

    Raises:
        InputError: nothing is added, or it costs so little or so much that `strength` would not look for it.
    """
    answers = answers_on(model, plain_answers()[0][:FOR_CONTROLS])
    (cost,) = yield from token_costs(model, answers, steers, [1.0], positions)
    nats, found = check_asked(float(cost.mean())), []
    for one in controls:
        strong = yield from strength(model, one, nats, positions, FOR_CONTROLS)
        if strong.factor is not None:
            found.append(scaled(one, strong.factor))
    return nats, found


def smallest_factor(
    costs: Costs, asked: float, start: float, largest: float
) -> Generator[Any, None, tuple[float | None, dict[float, float]]]:
    """The smallest factor whose cost comes within 5% of `asked`, found from below but for 2% of it; None where none
    up to `largest` does. With what was tried, by factor. Yields what `costs` yields.

    A cost that rises above and falls again between two factors that are tried, a step of √2 apart, is found where it
    shows at one of them by half of what is asked.

    Args:
        start: where the search begins, from which it goes down until the cost is little and falls with the factor.
    """
    search = _Search(costs, asked)
    for _ in range(MOST_ROUNDS):
        yield from search.look([start / 2, start])
        if search.known[start] <= LITTLE * asked and search.known[start / 2] <= max(search.known[start], 1e-3 * asked):
            break
        start /= 2
    ladder = [start]
    looked_at: set[float] = set()
    while not search.is_reached and ladder[-1] < largest:
        ladder += [ladder[-1] * STEP**k for k in range(1, TOGETHER + 1)]
        yield from search.look(ladder[-TOGETHER:])
        for low, top, high in zip(ladder, ladder[1:], ladder[2:], strict=False):
            if search.is_hump(low, top, high) and top not in looked_at:
                looked_at.add(top)
                yield from search.climb(low, top, high)
    return (yield from search.narrowed()) if search.is_reached else None, search.known


class _Search:
    """What is known of a cost by now. `known`: by factor."""

    def __init__(self, costs: Costs, asked: float):
        self.costs, self.enough, self.most = costs, (1 - WITHIN) * asked, (1 + WITHIN) * asked
        self.hump = HUMP * asked
        self.known: dict[float, float] = {}

    @property
    def is_reached(self) -> bool:
        """Whether any factor costs enough."""
        return any(cost >= self.enough for cost in self.known.values())

    def look(self, factors: Sequence[float]) -> Generator[Any, None, None]:
        """Try factors."""
        missing = [factor for factor in factors if factor not in self.known]
        if missing:
            found = yield from self.costs(missing)
            self.known.update(zip(missing, found, strict=True))

    def is_hump(self, low: float, top: float, high: float) -> bool:
        """Whether the cost has a top there that is not high enough, but not far from it."""
        cost = self.known[top]
        return self.hump <= cost < self.enough and self.known[low] <= cost >= self.known[high]

    def climb(self, low: float, top: float, high: float) -> Generator[Any, None, None]:
        """Look for the top of a hump, until it is high enough or can hardly be any higher."""
        while high / low > RESOLUTION:
            sides = [math.sqrt(low * top), math.sqrt(top * high)]
            yield from self.look(sides)
            there = [low, sides[0], top, sides[1], high]
            best = max(range(1, 4), key=lambda i: self.known[there[i]])
            low, top, high = there[best - 1 : best + 2]
            if self.known[top] >= self.enough:
                return

    def narrowed(self) -> Generator[Any, None, float | None]:
        """The smallest factor that costs enough, between the last that does not and the first that does; None where
        the cost jumps past what is asked.
        """
        for _ in range(MOST_ROUNDS):
            order = sorted(self.known)
            high = next(factor for factor in order if self.known[factor] >= self.enough)
            low = max((factor for factor in order if factor < high), default=high / STEP)
            if high / low <= RESOLUTION and self.known[high] <= self.most:
                return high
            around = RESOLUTION**0.4
            guess = self._guess(low, high)
            tried = {guess / around, guess * around, math.sqrt(low * high)}
            yield from self.look(sorted(one for one in tried if low * 1.0001 < one < high / 1.0001))
            if high / low < 1.0003:
                return None
        return None

    def _guess(self, low: float, high: float) -> float:
        """Where the cost is just enough, as if its logarithm were a line between both."""
        below, above = self.known.get(low, 0.0), self.known[high]
        if not (0 < below < above < math.inf):
            return math.sqrt(low * high)
        share = math.log(self.enough / below) / math.log(above / below)
        return low * (high / low) ** min(max(share, 0.0), 1.0)


def _rounded_up(factor: float) -> float:
    """To three digits."""
    digits = 2 - math.floor(math.log10(factor))
    return round(math.ceil(round(factor * 10.0**digits, 6)) / 10.0**digits, max(digits, 0))

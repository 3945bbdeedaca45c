"""What a model does at an NDIF host in place of forward passes here: jobs cut so that each is small, and what they say.

A job cannot be stopped there, so each is bounded: by tokens, by what goes over the wire, and, once it is known how fast
the host is, by seconds. What is given up is that people who write at once share a batch. What a job gives depends on
what it was sent with alone, so one that the host has lost with a machine of its own is sent again.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from caa_core.errors import InputError
from caa_core.model.prompts import Prompt
from caa_core.progress import Progress
from caa_core.remote import blocks, views
from caa_core.remote.jobs import MARK, Block, Line, News, run
from caa_core.remote.sentences import JobError, LostError
from caa_core.steering.activations import ActivationRow
from caa_core.steering.batching import batches
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import OVERFLOWED, BatchRow, Completion
from caa_core.steering.gradients import PASSES, NoEstimateError
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.scored_items import LOGITS, ScoredItem

# Steps and rows of one job that writes; with more, the next one goes on where it ended.
STEPS, ROWS = 128, 32
# Seconds that a job may take once the host's pace is known, tokens before that, and at least.
SECONDS, TOKENS_AT_FIRST, FEWEST_TOKENS = 10.0, 20_000, 500
# Tokens of one pass at the host.
PASS = 4096
# Bytes of one job's vectors, and of what comes back of it: less than what the wire takes.
ROOM = 600_000
NUMBER = 4  # bytes of a float32
# How often a job is sent that the host loses.
TRIES = 3
# Prompts by their numbers, and their inner products, [layers, 2, prompts, prompts].
Products = tuple[list[int], torch.Tensor]
Reading = tuple[torch.Tensor, torch.Tensor, list[int], torch.Tensor]


@dataclass
class AtHost(Progress):
    """How far something has come at a host, and in which state its job is."""

    state: str = ""

    def __str__(self) -> str:
        return f"{super().__str__()}{f' ({self.state})' if self.state else ''}"


@dataclass
class Pace:
    """How many tokens a second a host was seen to read, queueing included."""

    tokens: float = 0.0

    @property
    def most(self) -> float:
        """Tokens of one job."""
        return max(FEWEST_TOKENS, SECONDS * self.tokens) if self.tokens else TOKENS_AT_FIRST

    def learn(self, tokens: float, seconds: float) -> None:
        self.tokens = tokens / max(seconds, 0.1)


@dataclass
class Work:
    """See `model.stand_in.StandIn`. line: to the host; nn: nnsight's model without weights; where: see `blocks`."""

    place: str
    line: Line
    nn: Any
    where: dict[str, Any]
    tokenizer: PreTrainedTokenizerBase
    ends: frozenset[int]
    pace: Pace = field(default_factory=Pace)

    def write(
        self, rows: Sequence[BatchRow], decoding: Decoding
    ) -> Generator[list[Completion], None, list[Completion]]:
        """All rows of a call in one job, of so many rows and steps that it stays short."""
        texts = [Completion.behind(row.prompt) for row in rows]
        for row in rows:
            check_additions(row.steers, self.place)
            if row.positions.is_of_thought:
                raise InputError(f"Where a thought ends is not seen {self.place}: choose other positions.")
            if row.gate:
                raise InputError(f"Vectors are added at every token {self.place}: leave the gate out.")
        for first in range(0, len(rows), ROWS):
            part = range(first, min(first + ROWS, len(rows)))
            for before in range(0, decoding.max_new_tokens, STEPS):
                here = [i for i in part if not texts[i].done]
                if here:
                    steps = min(STEPS, decoding.max_new_tokens - before)
                    group = [rows[i] for i in here], [texts[i] for i in here]
                    yield from each_time(self._written(*group, decoding, steps, before), texts)
        return texts

    def _written(
        self, rows: Sequence[BatchRow], texts: Sequence[Completion], decoding: Decoding, steps: int, before: int
    ) -> Generator[None, None, None]:
        """One job: so many more tokens of some texts, which grow meanwhile."""
        spans, sums = _spans_and_sums(rows)
        given = {
            "ids": [[*row.prompt.ids, *text.ids] for row, text in zip(rows, texts, strict=True)],
            "spans": spans,
            "sums": sums,
            "left": [steps] * len(rows),
            "ends": sorted(self.ends),
        }
        groups = [(len(rows), decoding.temperature, decoding.seed, before)]
        work = self._run(blocks.written, rows=given, groups=groups, mark=MARK)
        there, seen = [len(text.ids) for text in texts], list[list[int]]()
        try:
            while True:
                news = next(work)
                if news and news.state:
                    for text in texts:
                        text.waiting = news.state
                elif news:
                    step, _, tokens = news.line.partition(":")
                    if int(step) == len(seen):  # one that is begun anew says once more what it said before
                        seen.append([int(token) for token in tokens.split(",")])
                        self._take(texts, seen[-1])
                yield
        except StopIteration as end:
            found = end.value
        finally:
            work.close()
        written: list[list[int]] = found["tokens"].T.tolist()
        if seen != written[: len(seen)]:  # another machine, which has begun it anew, may round otherwise
            for text, length in zip(texts, there, strict=True):
                del text.ids[length:]
                text.done = False
            seen.clear()
        for taken in written[len(seen) :]:  # what was printed last may come after the result
            self._take(texts, taken)
        if not found["valid"].all():
            raise InputError(OVERFLOWED)

    def _take(self, texts: Sequence[Completion], tokens: Sequence[int]) -> None:
        for text, token in zip(texts, tokens, strict=True):
            text.waiting = ""
            if token >= 0 and not text.done:
                text.take(self.tokenizer, token, self.ends)

    def score(
        self, items: Sequence[ScoredItem], runs: Sequence[Sequence[Steer]], positions: Sequence[Positions], costs: bool
    ) -> Generator[Progress, None, torch.Tensor]:
        """One job a slice of items and of runs, of which only numbers come back."""
        for steers in runs:
            check_additions(steers, self.place)
        found = torch.full((4, 1 + len(runs), len(items)), torch.nan, dtype=torch.float32)
        cost = sum(item.split + (1 + len(runs)) * item.tail for item in items)
        progress = AtHost(len(items), "items scored", cost)
        yield progress
        for share in _by_room(runs):
            some = [runs[run] for run in share]
            which = torch.tensor([0, *(1 + run for run in share)])
            each = [item.split + (1 + len(share)) * item.tail for item in items]
            start = 0
            while start < len(items):
                part = _slice(each, start, self.pace.most)
                chosen = [items[i] for i in part]
                given = self._scored(chosen, some, [positions[run] for run in share], costs)
                spent = sum(each[i] for i in part)
                numbers = yield from self._paced(progress, spent, blocks.scored, given)
                found[:, which[:, None], torch.tensor([*part])[None]] = numbers["found"]
                start = part.stop
                progress.done = int(len(items) * progress.fraction)
                yield progress
        return found

    def score_told(
        self, contexts: Sequence[Sequence[ScoredItem]], runs: Sequence[Sequence[Steer]], positions: Positions
    ) -> Generator[Progress, None, torch.Tensor]:
        """One job a slice of items, of which only numbers come back."""
        for steers in runs:
            check_additions(steers, self.place)
        count = len(contexts[0])
        each = [sum(of[i].split + (1 + len(runs)) * of[i].tail for of in contexts) for i in range(count)]
        found = torch.full((len(contexts) - 1, 4, 1 + len(runs), count), torch.nan, dtype=torch.float32)
        progress = AtHost(count, "items told", sum(each))
        yield progress
        start = 0
        while start < count:
            part = _slice(each, start, self.pace.most)
            own = [[of[i] for i in part] for of in contexts]
            asked = [self._scored(items, runs, [positions] * len(runs), True) for items in own]
            longest = max(own, key=lambda items: max(item.row.length for item in items))
            given = {
                "contexts": [one["items"] for one in asked],
                "runs": [one["runs"] for one in asked[1:]],
                "batches": [*batches([item.row for item in longest], PASS, self._fits(longest))],
                "limits": asked[0]["limits"],
            }
            numbers = yield from self._paced(progress, sum(each[i] for i in part), blocks.told, given)
            found[..., part.start : part.stop] = numbers["found"]
            start = part.stop
            progress.done = int(count * progress.fraction)
            yield progress
        return found

    def _scored(
        self, items: Sequence[ScoredItem], runs: Sequence[Sequence[Steer]], positions: Sequence[Positions], costs: bool
    ) -> dict[str, Any]:
        """What `blocks.scored` is given."""
        vectors, steers = _numbered(runs)
        spans = [[rule.span(item.prompt_length, item.thought) for item in items] for rule in positions]
        hidden = self.where["hidden"]
        asked = {
            "vectors": torch.stack(vectors).float() if vectors else torch.zeros(0, hidden),
            "steers": steers,
            "spans": torch.tensor(spans) if spans else torch.zeros(0, len(items), 2, dtype=torch.long),
        }
        return {
            "items": [_plain(item) for item in items],
            "runs": asked,
            "batches": [*batches([item.row for item in items], PASS, self._fits(items))],
            "limits": {"tokens": PASS, "logits": LOGITS},
            "costs": costs,
        }

    def _fits(self, items: Sequence[ScoredItem]) -> Callable[[list[int]], bool]:
        """Whether the logits of some items find room in a pass."""
        return lambda batch: sum(len(items[i].columns) for i in batch) * self.where["vocabulary"] <= LOGITS

    def slopes(
        self, items: Sequence[ScoredItem], weights: torch.Tensor, layers: Sequence[int], positions: Positions
    ) -> Generator[Progress, None, torch.Tensor]:
        """One job a slice of sums and of the items that count in them."""
        size = len(layers) * self.where["hidden"] * NUMBER
        cost = [item.split + PASSES * item.tail for item in items]
        groups = _layers_by_room(range(len(weights)), size)
        chosen = [[i for i in range(len(items)) if weights[group, i].any()] for group in groups]
        progress = AtHost(len(items), "gradients", sum(cost[i] for part in chosen for i in part))
        yield progress
        found = torch.zeros(len(weights), len(layers), self.where["hidden"], dtype=torch.float32)
        for group, own in zip(groups, chosen, strict=True):
            start = 0
            while start < len(own):
                share = _slice([cost[i] for i in own], start, self.pace.most)
                part = [own[place] for place in share]
                given = self._sloped([items[i] for i in part], weights[group][:, part], layers, positions)
                try:
                    numbers = yield from self._paced(progress, sum(cost[i] for i in part), blocks.sloped, given)
                except JobError as error:
                    raise NoEstimateError(f"There is no estimate {self.place}: {error}") from None
                found[group] += numbers["sums"]
                start = share.stop
                progress.done = int(len(items) * progress.fraction)
                yield progress
        return found

    def _sloped(
        self, items: Sequence[ScoredItem], weights: torch.Tensor, layers: Sequence[int], positions: Positions
    ) -> dict[str, Any]:
        """What `blocks.sloped` is given."""
        spans = [positions.span(item.prompt_length, item.thought) for item in items]
        return {
            "items": [_plain(item) for item in items],
            "spans": torch.tensor(spans),
            "weights": weights.float().contiguous().clone(),
            "layers": list(layers),
            "batches": [*batches([item.row for item in items], PASS // PASSES, self._fits(items))],
        }

    def look(
        self, prompt: Prompt, steer: Steer, positions: Positions, listed: int
    ) -> Generator[Progress, None, dict[str, Any]]:
        """One job a prompt."""
        check_additions([steer], self.place)
        spans, sums = _spans_and_sums([BatchRow(prompt), BatchRow(prompt, (steer,), positions)])
        given = {"ids": list(prompt.ids), "plan": {"spans": spans, "sums": sums}, "vector": steer.vector.float()}
        progress = AtHost(1, "views", 1)
        yield progress
        more = {"layer": steer.layer, "listed": listed}
        found: dict[str, Any] = yield from self._paced(progress, 1, views.viewed, given | more, learn=False)
        return found

    def read(
        self, rows: Sequence[ActivationRow], layers: Sequence[int], weights: torch.Tensor, prompts: torch.Tensor
    ) -> Generator[Progress, None, Reading]:
        """One job a slice of pairs and of layers, of which only sums, norms and inner products come back: those of
        prompts that are read in one job.
        """
        size = len(weights) * self.where["hidden"] + 2 * len(prompts) ** 2
        groups = _layers_by_room(layers, size * NUMBER)
        progress = AtHost(len(rows), "pairs", len(groups) * sum(row.pair_row.length for row in rows))
        yield progress
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        products: list[Products] = []
        for group in groups:
            total = torch.zeros(len(weights), len(group), self.where["hidden"], dtype=torch.float32)
            norms, start = [], 0
            while start < len(rows):
                part = _slice([row.pair_row.length for row in rows], start, self._most_read(rows, len(group)))
                own = [] if start else _within(prompts, part)
                given = _read(rows, part, weights, prompts[own], group)
                spent = sum(rows[i].pair_row.length for i in part)
                numbers = yield from self._paced(progress, spent, blocks.summed, given)
                total += numbers["sums"]
                norms.append(numbers["norms"])
                products += [] if start else [(own, numbers["products"])]
                start = part.stop
                progress.done = int(len(rows) * progress.fraction)
                yield progress
            found.append((total, torch.cat(norms, dim=1).median(dim=1).values))
        sums, medians = torch.cat([total for total, _ in found], dim=1), torch.cat([median for _, median in found])
        return sums, medians, *_in_common(products)

    def _most_read(self, rows: Sequence[ActivationRow], layers: int) -> float:
        """Tokens of a job whose norms find room on the way back, as many as are read of each."""
        read = sum(len(row.positive) + len(row.negative) for row in rows)
        tokens = sum(row.pair_row.length for row in rows)
        return min(self.pace.most, ROOM / NUMBER / layers * tokens / max(read, 1))

    def _paced(
        self, progress: AtHost, tokens: float, block: Block, given: dict[str, Any], learn: bool = True
    ) -> Generator[Progress, None, Any]:
        """Run a job that costs so many tokens, with its state in the progress, and learn from how long it took."""
        work, began = self._run(block, **given), time.monotonic()
        try:
            while True:
                news = next(work)
                if news and news.state:
                    progress.state = news.state
                    if news.state.startswith("running"):
                        began = time.monotonic()
                yield progress
        except StopIteration as end:
            if learn:
                self.pace.learn(tokens, time.monotonic() - began)
            progress.state = ""
            progress.cost += tokens
            return end.value
        finally:
            work.close()

    def _run(self, block: Block, **given: Any) -> Generator[News | None, None, Any]:
        """A job, which is sent again where the host loses it."""
        for left in reversed(range(TRIES)):
            try:
                return (yield from run(self.line, self.nn, block, {"where": self.where, **given}))
            except LostError:
                if not left:
                    raise
                yield News(state="lost by the host, and sent again")
        return None


def _plain(item: ScoredItem) -> dict[str, Any]:
    """An item without its class."""
    return {
        "ids": item.row.ids,
        "shared": item.row.shared,
        "negative_start": item.row.negative_start,
        "split": item.split,
        "tail": item.tail,
        "choice": item.choice,
        "columns": item.columns,
        "answers": item.answers,
    }


def each_time(work: Generator[None, None, None], texts: list[Completion]) -> Generator[list[Completion], None, None]:
    """`texts` each time that `work` yields."""
    try:
        for _ in work:
            yield texts
    finally:
        work.close()


def check_additions(steers: Sequence[Steer], place: str) -> None:
    """Raises InputError for what is not done elsewhere: anything but adding vectors."""
    for steer in steers:
        if not steer.operation.is_addition:
            raise InputError(f"Vectors are only added {place}: choose add, or run it on this machine.")


def _spans_and_sums(rows: Sequence[BatchRow]) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """See `blocks.added`."""
    spans = torch.tensor([row.positions.span(row.prompt.length) for row in rows])
    sums: dict[int, torch.Tensor] = {}
    for r, row in enumerate(rows):
        for steer in row.steers:
            if steer.layer not in sums:
                sums[steer.layer] = torch.zeros(len(rows), len(steer.vector), dtype=torch.float32)
            sums[steer.layer][r] += steer.multiplier * steer.vector.float()
    return spans, {layer: total for layer, total in sums.items() if total.any()}


def _numbered(runs: Sequence[Sequence[Steer]]) -> tuple[list[torch.Tensor], list[list[tuple[int, int, float]]]]:
    """Each vector once, and what runs add by the numbers of these."""
    vectors: dict[int, torch.Tensor] = {}
    for one in (steer for steers in runs for steer in steers):
        vectors.setdefault(id(one.vector), one.vector)
    numbers = {key: number for number, key in enumerate(vectors)}
    added = [[(numbers[id(one.vector)], one.layer, one.multiplier) for one in steers] for steers in runs]
    return [*vectors.values()], added


def _by_room(runs: Sequence[Sequence[Steer]]) -> list[range]:
    """Runs in parts whose vectors find room in a job; one part where there are none."""
    parts, first, held = [], 0, 0
    known: set[int] = set()
    for number, steers in enumerate(runs):
        own = {id(steer.vector): len(steer.vector) * NUMBER for steer in steers}
        size = sum(own[key] for key in own.keys() - known)
        if number > first and held + size > ROOM:
            parts.append(range(first, number))
            first, held, known, size = number, 0, set(), sum(own.values())
        known |= own.keys()
        held += size
    return [*parts, range(first, len(runs))]


def _layers_by_room(layers: Sequence[int], size: int) -> list[list[int]]:
    """Layers in groups of which what comes back finds room, `size` bytes each."""
    most = max(1, ROOM // size)
    return [list(layers[first : first + most]) for first in range(0, len(layers), most)]


def _slice(costs: Sequence[float], start: int, most: float) -> range:
    """From `start` as many as cost no more than that together; one at least."""
    stop, total = start + 1, costs[start]
    while stop < len(costs) and total + costs[stop] <= most:
        total += costs[stop]
        stop += 1
    return range(start, stop)


def _within(prompts: torch.Tensor, part: range) -> list[int]:
    """Which prompts, by weights [prompts, pairs], have all their pairs in a part of these."""
    left = (prompts > 0).sum(1) - (prompts[:, part.start : part.stop] > 0).sum(1)
    found: list[int] = (left == 0).nonzero()[:, 0].tolist()
    return found


def _in_common(found: Sequence[Products]) -> Products:
    """The prompts that all of them have, and their inner products: slices of other layers may have other lengths."""
    places = [prompt for prompt in found[0][0] if all(prompt in own for own, _ in found)]
    parts = []
    for own, products in found:
        there = torch.tensor([own.index(prompt) for prompt in places], dtype=torch.long)
        gram, middles = products[..., there, :][..., there].unbind(1)
        parts.append(torch.stack([gram, middles - middles.mean(-2, keepdim=True)], dim=1))
    return places, torch.cat(parts)


def _read(
    rows: Sequence[ActivationRow],
    part: range,
    weights: torch.Tensor,
    prompts: torch.Tensor,
    layers: Sequence[int],
) -> dict[str, Any]:
    """What `blocks.summed` is given."""
    chosen = [rows[i] for i in part]
    plain = [
        {
            "ids": row.pair_row.ids,
            "shared": row.pair_row.shared,
            "negative_start": row.pair_row.negative_start,
            "positive": row.positive,
            "negative": row.negative,
        }
        for row in chosen
    ]
    return {
        "rows": plain,
        "weights": weights[:, part.start : part.stop].contiguous().clone(),
        "prompts": prompts[:, part.start : part.stop].contiguous().clone(),
        "layers": list(layers),
        "batches": [*batches([row.pair_row for row in chosen], PASS)],
    }

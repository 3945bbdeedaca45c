"""Test items: which pairs of a data set can be measured on a model, and how they count."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import NO_CUE, Cue, ask_pair
from caa_core.progress import Progress
from caa_core.steering.interventions import AFTER_PROMPT, Positions, Steer
from caa_core.steering.operations import ADD, Operation
from caa_core.steering.scoring import check
from caa_core.vectors.splits import halves, prompts_of
from caa_core.vectors.spread import EQUAL, spread
from caa_core.vectors.vector import SteeringVector

# Tokens that are written to see which answer a model gives.
WRITTEN_TOKENS = 10
CHECKED_AT_ONCE = 50


@dataclass(frozen=True)
class Items:
    """Pairs that can be measured, and the conditions under which they are.

    name, sha256: of the data they are from. pairs: each is scored by its own two answers. swapped: the same in the
    other letter order, None where there is none. zeros: lines of pairs that count as a probability of 0 and are not
    asked at all (paper counting). skipped: what was left out, and why. operation: what is done with a vector at the
    steered positions. spread: layers at all of which that is done at once, where there are several; a cell of theirs is
    named by the first. shares: what these get of a multiplier.
    """

    name: str
    sha256: str
    pairs: tuple[ContrastPair, ...]
    swapped: tuple[ContrastPair | None, ...]
    zeros: tuple[int, ...] = ()
    skipped: tuple[str, ...] = ()
    positions: Positions = AFTER_PROMPT
    cue: Cue = NO_CUE
    paper_counting: bool = False
    operation: Operation = field(default=ADD, metadata={"unsaid": ADD})
    spread: tuple[int, ...] = field(default=(), metadata={"unsaid": ()})
    shares: str = field(default=EQUAL, metadata={"unsaid": EQUAL})

    def steers(self, vector: SteeringVector, layer: int, multiplier: float) -> tuple[Steer, ...]:
        """What is done with a vector in the cell of a layer. Raises what `vectors.spread` raises."""
        return spread(vector, self.spread or [layer], multiplier, self.operation, self.shares)

    @property
    def at_one_layer(self) -> bool:
        """Whether a vector is added at one layer, so that there are first-order estimates."""
        return self.operation.is_addition and not self.spread

    @property
    def are_choices(self) -> bool:
        """Whether answers are chosen (letters, Yes or No), and so have a probability; free text has none."""
        return self.pairs[0].is_choice

    @property
    def are_lettered(self) -> bool:
        return any(pair.is_lettered for pair in self.pairs)

    @property
    def not_swapped(self) -> int:
        """How many have no other letter order."""
        return self.swapped.count(None)

    def both_orders(self) -> tuple[list[ContrastPair], list[int]]:
        """Every item, then each other letter order of one; and of which item each of these is."""
        swapped = {i: pair for i, pair in enumerate(self.swapped) if pair}
        return [*self.pairs, *swapped.values()], [*range(len(self.pairs)), *swapped]

    def check_bare(self) -> None:
        """Raises InputError for items of which the prompt is not all that comes before the answers."""
        if any(pair.has_context for pair in self.pairs):
            raise InputError(
                f"{self.name} has system messages or earlier turns, which are not read here: give prompts without them."
            )

    def some(self, indices: Sequence[int]) -> "Items":
        """Those of the items; what counts as 0 is left out."""
        kept = [(self.pairs[i], self.swapped[i]) for i in indices]
        return replace(self, pairs=tuple(p for p, _ in kept), swapped=tuple(s for _, s in kept), zeros=())

    @property
    def judged(self) -> list[int]:
        """Indices of what a verdict is given by: items with both letter orders, or all where none has two."""
        return [i for i, swapped in enumerate(self.swapped) if swapped] or [*range(len(self.pairs))]

    @property
    def judged_prompts(self) -> list[int]:
        """The number of the prompt of each of these."""
        return [self.prompts[i] for i in self.judged]

    @cached_property
    def prompts(self) -> list[int]:
        """The number of each item's prompt; see `splits.prompts_of`."""
        return prompts_of(self.pairs)

    def halves(self) -> tuple[list[int], list[int]]:
        """Indices of items to choose settings on, and of those to report them on; see `splits.halves`."""
        return halves(self.pairs)


def choose_items(
    model: SteerableModel,
    dataset: Dataset,
    positions: Positions = AFTER_PROMPT,
    cue: Cue = NO_CUE,
    paper_counting: bool = False,
    operation: Operation = ADD,
) -> Generator[Progress, None, Items]:
    """The pairs of a data set that this model can be measured on. Yields `Progress`.

    Args:
        paper_counting: count as the CAA paper does (arXiv 2312.06681): the probability of the matching letter among A
            and B, whichever the other answer is; pairs whose matching letter is another one count as 0.

    Raises:
        InputError: no pair can be measured, or some choose among answers and others write them.
    """
    if len({pair.is_choice for pair in dataset.pairs}) > 1:
        raise InputError(
            f"{dataset.name} mixes questions with letters or Yes and No with free text, which have no common measure: "
            "give them as two files."
        )
    kept, zeros, skipped = [], [], []
    progress = Progress(len(dataset.pairs), "items checked", len(dataset.pairs))
    for number, pair in enumerate(dataset.pairs, 1):
        counted = _as_the_paper(pair) if paper_counting else pair
        if counted is None:
            zeros.append(pair.line)
        else:
            try:
                _check(model, counted, positions, cue)
                kept.append((counted, _swapped(model, counted, positions, cue)))
            except InputError as error:
                skipped.append(str(error))
        if number % CHECKED_AT_ONCE == 0:
            yield progress.advance(CHECKED_AT_ONCE, CHECKED_AT_ONCE)
    if not kept:
        why = f" {skipped[0]}" if skipped else " Under paper counting only the letters A and B are counted."
        raise InputError(f"No item of {dataset.name} can be measured on {model.name}.{why}")
    pairs, swapped = zip(*kept, strict=True)
    found = Items(dataset.name, dataset.sha256, pairs, swapped, tuple(zeros), tuple(skipped))
    return replace(found, positions=positions, cue=cue, paper_counting=paper_counting, operation=operation)


def _check(model: SteerableModel, pair: ContrastPair, positions: Positions, cue: Cue) -> None:
    check(model, pair, positions, cue)
    length = len(ask_pair(model.tokenizer, pair, cue=cue).ids)
    if length + WRITTEN_TOKENS > model.context_length:
        raise InputError(
            f"Item {pair.line} has {length} tokens; {model.name} takes {model.context_length}, and "
            f"{WRITTEN_TOKENS} are written behind it. Shorten it or leave it out."
        )


def _swapped(model: SteerableModel, pair: ContrastPair, positions: Positions, cue: Cue) -> ContrastPair | None:
    swapped = pair.swapped()
    if swapped:
        _check(model, swapped, positions, cue)
    return swapped


def _as_the_paper(pair: ContrastPair) -> ContrastPair | None:
    """The pair as a choice between A and B; None where the matching letter is another one."""
    if not pair.letters:
        return pair
    letter = pair.letters[0]
    other = {"A": "B", "B": "A", "a": "b", "b": "a"}.get(letter.written)
    return replace(pair, negative=letter.replaced(pair.positive, replace(letter, written=other))) if other else None

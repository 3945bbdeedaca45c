"""For each row of a batch, what is done to the residual stream, and at which positions."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from caa_core.errors import InputError
from caa_core.steering.interventions import Gate, Positions, Steer
from caa_core.steering.operations import SUMS, Operation, operated


class Plan:
    """For each row of a batch, what is done to the residual stream, and at which positions.

    What is added to a row at one layer is summed in float32 first and added once, in the model's dtype, so that v with
    -v is exactly nothing. Rows with nothing to add, and multiplier 0, leave the stream untouched. Other operations are
    computed in float32, behind the sum; see `steering.operations`. A row with a gate is steered only at tokens at which
    that is open.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Steer]],
        positions: Sequence[Positions],
        prompt_lengths: Sequence[int],
        thoughts: Sequence[int] = (),
        gates: Sequence[Gate | None] = (),
    ):
        """rows: what each row is steered by; positions, prompt_lengths and, where there are any, lengths of thoughts
        (in tokens) and gates: one for each row.

        Raises:
            InputError: an index lies outside its row's prompt, a gate is read too late, or there are no thoughts at
                whose positions to steer.
        """
        if not thoughts and (lacking := [rule for rule in positions if rule.is_of_thought]):
            raise InputError(f"Nothing is thought here, so there is no {lacking[0]}: choose other positions.")
        lengths = zip(positions, prompt_lengths, thoughts or [0] * len(rows), strict=True)
        spans = [rule.span(prompt, thought) for rule, prompt, thought in lengths]
        self.spans = torch.tensor(spans)
        self.stages: dict[int, list[Stage]] = {}
        for (layer, *_), stage in sorted(_stages(rows).items(), key=lambda item: item[0][:2]):
            if stage.acting.any():
                self.stages.setdefault(layer, []).append(stage)
        self.readings = _readings(rows, gates)

    @property
    def layers(self) -> list[int]:
        """At which anything is done, by rising layer."""
        return [*self.stages]

    @property
    def first_layer(self) -> int | None:
        """The lowest layer at which anything is done."""
        return next(iter(self.stages), None)

    def mask(self, positions: torch.Tensor) -> torch.Tensor:
        """Which of `positions` [rows, tokens] are steered."""
        first, end = self.spans.to(positions.device).unbind(1)
        return (positions >= first[:, None]) & (positions < end[:, None])

    def additions(self, positions: torch.Tensor, dtype: torch.dtype) -> list[tuple[int, torch.Tensor]]:
        """By rising layer, what to add to the output of that block: [rows, tokens, hidden_size].

        A batch may have fewer rows than the plan, each of which then holds the tokens of several of the plan's rows,
        one behind the other (see `pair_rows.inputs_of`).
        """
        mask = self.mask(positions.reshape(len(self.spans), -1))[..., None]
        sums = {layer: stages[0].vectors for layer, stages in self.stages.items() if stages[0].operation.is_addition}
        return [
            (layer, torch.where(mask, total.to(positions.device, dtype)[:, None], 0).view(*positions.shape, -1))
            for layer, total in sums.items()
        ]

    def changes(self, positions: torch.Tensor, dtype: torch.dtype) -> list[tuple[int, Callable[..., torch.Tensor]]]:
        """By rising layer, what to do to the output of that block, in one forward pass. A batch may have fewer rows, as
        in `additions`.
        """
        if not self.stages:
            return []
        added = dict(self.additions(positions, dtype))
        opening = OpenTokens(self.mask(positions.reshape(len(self.spans), -1)))
        steps: dict[int, list[Callable[[torch.Tensor], torch.Tensor]]] = {
            layer: [partial(opening.read, reading)] for layer, reading in self.readings.items()
        }
        for layer, stages in self.stages.items():
            others = [one for one in stages if not one.operation.is_addition]
            steps.setdefault(layer, []).append(Change(added.get(layer), others, opening, bool(self.readings)))
        return [(layer, partial(_in_turn, found)) for layer, found in sorted(steps.items())]


@dataclass(eq=False)
class Stage:
    """One operation at one layer: by row what it is done with, vectors [rows, hidden_size] and multipliers [rows], both
    float32; nothing where it is not done to a row.
    """

    operation: Operation
    vectors: torch.Tensor
    multipliers: torch.Tensor

    @classmethod
    def of(cls, operation: Operation, rows: int, size: int) -> "Stage":
        """As yet for no row."""
        return cls(operation, torch.zeros(rows, size, dtype=torch.float32), torch.zeros(rows, dtype=torch.float32))

    def take(self, row: int, steer: Steer) -> None:
        """Do to a row what is asked of it: a sum beside what is there, anything else in its place."""
        vector = steer.vector.float()
        if self.operation.is_sum:
            self.vectors[row] += steer.multiplier * vector
            self.multipliers[row] = 1.0
        else:
            self.vectors[row] = vector
            self.multipliers[row] = steer.multiplier

    @property
    def acting(self) -> torch.Tensor:
        """To which rows it does anything, [rows]."""
        return (self.multipliers != 0) & (self.vectors != 0).any(1)

    def __call__(self, stream: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """stream: [rows, tokens, hidden_size]; mask: the tokens that are steered, [rows, tokens]."""
        vectors, multipliers = (one.to(stream.device)[:, None] for one in (self.vectors, self.multipliers[:, None]))
        changed = operated(self.operation, stream.float(), vectors, multipliers).to(stream.dtype)
        there = mask.to(stream.device) & self.acting.to(stream.device)[:, None]
        return torch.where(there[..., None], changed, stream)


@dataclass(frozen=True, eq=False)
class GateReading:
    """What the gates of one layer are read by: by row a direction [rows, hidden_size], and the threshold [rows]; -inf
    where a row has no gate there.
    """

    directions: torch.Tensor
    thresholds: torch.Tensor


@dataclass(eq=False)
class OpenTokens:
    """Which tokens are steered, [the plan's rows, tokens]: in a forward pass fewer from gate to gate."""

    mask: torch.Tensor

    def read(self, reading: GateReading, stream: torch.Tensor) -> torch.Tensor:
        """Read gates from a residual stream [rows, tokens, hidden_size], which is given back as it is."""
        directions, thresholds = (one.to(stream.device)[:, None] for one in (reading.directions, reading.thresholds))
        along = (stream.reshape(*self.mask.shape, -1).float() * directions).sum(-1)
        self.mask = self.mask.to(stream.device) & (along > thresholds)
        return stream


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to a block's output. addition: what is added, [rows, tokens, hidden_size], in the model's dtype.
    stages: what comes behind that. opening: the tokens that are steered; is_gated: whether they are fewer than those
    at which `addition` is something.
    """

    addition: torch.Tensor | None
    stages: Sequence[Stage]
    opening: OpenTokens
    is_gated: bool = False

    def __call__(self, stream: torch.Tensor) -> torch.Tensor:
        """stream: [rows, tokens, hidden_size], in which a row may hold several of the plan's one behind the other."""
        mask = self.opening.mask
        if self.addition is not None:
            addition = self.addition.to(stream.device)
            if self.is_gated:
                addition = torch.where(mask.to(stream.device).view(*stream.shape[:2], 1), addition, 0)
            stream = stream + addition
        rows = stream.reshape(*mask.shape, -1)
        for stage in self.stages:
            rows = stage(rows, mask)
        return rows.view(stream.shape)


def _in_turn(steps: Sequence[Callable[[torch.Tensor], torch.Tensor]], stream: torch.Tensor) -> torch.Tensor:
    for step in steps:
        stream = step(stream)
    return stream


def _readings(rows: Sequence[Sequence[Steer]], gates: Sequence[Gate | None]) -> dict[int, GateReading]:
    """By rising layer. Raises InputError for a gate that is read too late."""
    found: dict[int, GateReading] = {}
    for row, (steers, gate) in enumerate(zip(rows, gates, strict=True) if gates else ()):
        if gate and steers:
            gate.check(steers)
            if gate.layer not in found:
                nothing = torch.zeros(len(rows), len(gate.vector)), torch.full((len(rows),), -torch.inf)
                found[gate.layer] = GateReading(*nothing)
            found[gate.layer].directions[row] = torch.nn.functional.normalize(gate.vector.float(), dim=0)
            found[gate.layer].thresholds[row] = gate.threshold
    return dict(sorted(found.items()))


def _stages(rows: Sequence[Sequence[Steer]]) -> dict[tuple[int, int, Operation], Stage]:
    """By layer, order there and operation. A row has one stage at most of each order, so that those of one order are
    for different rows.
    """
    found: dict[tuple[int, int, Operation], Stage] = {}
    for row, steers in enumerate(rows):
        behind: Counter[int] = Counter()  # by layer, what is taken away after the sums
        for steer in steers:
            operation = steer.operation
            if operation.is_sum:
                order = SUMS.index(operation.name)
            else:
                order = len(SUMS) + behind[steer.layer]
                behind[steer.layer] += 1
            name = (steer.layer, order, operation)
            if name not in found:
                found[name] = Stage.of(operation, len(rows), len(steer.vector))
            found[name].take(row, steer)
    return found

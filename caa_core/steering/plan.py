"""For each row of a batch, what is added to the residual stream, and at which positions."""

from collections.abc import Sequence

import torch

from caa_core.steering.interventions import Positions, Steer


class Plan:
    """For each row of a batch, what is added to the residual stream, and at which positions.

    What is added to a row at one layer is summed in float32 first and added once, in the model's dtype, so that v with
    -v is exactly nothing. Rows with nothing to add, and multiplier 0, leave the stream untouched.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Steer]],
        positions: Sequence[Positions],
        prompt_lengths: Sequence[int],
        thoughts: Sequence[int] = (),
    ):
        """rows: the additions of each row; positions, prompt_lengths and, where there are any, lengths of thoughts (in
        tokens): one for each row.

        Raises:
            InputError: an index lies outside its row's prompt.
        """
        lengths = zip(positions, prompt_lengths, thoughts or [0] * len(rows), strict=True)
        spans = [rule.span(prompt, thought) for rule, prompt, thought in lengths]
        self.spans = torch.tensor(spans)
        self.sums: dict[int, torch.Tensor] = {}
        for row, steers in enumerate(rows):
            for steer in steers:
                if steer.layer not in self.sums:
                    self.sums[steer.layer] = torch.zeros(len(rows), len(steer.vector), dtype=torch.float32)
                self.sums[steer.layer][row] += steer.multiplier * steer.vector.float()
        self.sums = {layer: total for layer, total in sorted(self.sums.items()) if total.any()}

    @property
    def first_layer(self) -> int | None:
        """The lowest layer at which anything is added."""
        return next(iter(self.sums), None)

    def mask(self, positions: torch.Tensor) -> torch.Tensor:
        """Which of `positions` [rows, tokens] are steered."""
        first, end = self.spans.to(positions.device).unbind(1)
        return (positions >= first[:, None]) & (positions < end[:, None])

    def additions(self, positions: torch.Tensor, dtype: torch.dtype) -> list[tuple[int, torch.Tensor]]:
        """By rising layer, what to add to the output of that block: [rows, tokens, hidden_size].

        A batch may have fewer rows than the plan, each of which then holds the tokens of several of the plan's rows,
        one behind the other (see `pair_rows.inputs_of`).
        """
        if not self.sums:
            return []
        mask = self.mask(positions.reshape(len(self.spans), -1))[..., None]
        return [
            (layer, torch.where(mask, total.to(positions.device, dtype)[:, None], 0).view(*positions.shape, -1))
            for layer, total in self.sums.items()
        ]

"""What a model that runs on another machine does in place of forward passes here: whole pieces of work, of which
numbers come back. See :mod:`caa_core.remote`.
"""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

import torch


class StandIn(Protocol):
    """Each of these yields how far it has come, and what is known of its result.

    Raises:
        InputError: it cannot be done there, or the machine fails.
    """

    @property
    def place(self) -> str:
        """Where that is, in words."""
        ...

    def write(self, rows: Sequence[Any], decoding: Any) -> Generator[Any, None, Any]:
        """As `generation.generate`."""
        ...

    def score(
        self, items: Sequence[Any], runs: Sequence[Any], positions: Sequence[Any], costs: bool
    ) -> Generator[Any, None, torch.Tensor]:
        """The numbers of `scoring.Scores`, [4, 1 + runs, items]."""
        ...

    def score_told(
        self, contexts: Sequence[Sequence[Any]], runs: Sequence[Any], positions: Any
    ) -> Generator[Any, None, torch.Tensor]:
        """The numbers of `told.score_told`, [contexts - 1, 4, 1 + runs, items]; in the first, nothing is told."""
        ...

    def slopes(
        self, items: Sequence[Any], weights: torch.Tensor, layers: Sequence[int], positions: Any
    ) -> Generator[Any, None, torch.Tensor]:
        """As `gradients.gradients`, [sums, layers, hidden_size]. Raises NoEstimateError."""
        ...

    def look(self, prompt: Any, steer: Any, positions: Any, listed: int) -> Generator[Any, None, dict[str, Any]]:
        """The numbers of `inspection.Views`; see `remote.views`."""
        ...

    def read(
        self, rows: Sequence[Any], layers: Sequence[int], weights: torch.Tensor, prompts: torch.Tensor
    ) -> Generator[Any, None, tuple[torch.Tensor, torch.Tensor, list[int], torch.Tensor]]:
        """The sum over pairs of weights [sums, pairs] times what is read at the positive answer less what is read at
        the negative one, [sums, layers, hidden_size]; the median norms of the tokens read, [layers]; and of prompts,
        weights [prompts, pairs], which of them have inner products, and these (see `activations.products_of`).
        """
        ...

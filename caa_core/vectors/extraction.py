"""Contrast pairs to steering vectors.

Contrastive Activation Addition, Panickssery et al., "Steering Llama 2 via Contrastive Activation Addition",
arXiv 2312.06681, section 3: the mean over pairs of the residual stream at the positive answer minus the one at the
negative answer. Other methods are in :mod:`caa_core.vectors.methods`, read positions in
:mod:`caa_core.steering.activations`.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import torch

from caa_core.data.pairs import Dataset
from caa_core.data.presets import Preset
from caa_core.errors import InputError
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.activations import Collect, check_here, read_all, read_sums
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.diagnostics import (
    ENOUGH,
    NOTHING_KNOWN,
    KeptPrompts,
    Known,
    PromptSides,
    diagnose,
    diagnose_products,
)
from caa_core.vectors.methods import MEAN_DIFFERENCE, Method, method_named
from caa_core.vectors.pair_differences import check_room, keep, to_keep
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector

# What gives directions that are known on a model.
Know = Callable[[SteerableModel], Generator[Progress, None, Known]]

# Prompts whose inner products come back from elsewhere: their square, for each layer, goes over the wire.
MOST_ELSEWHERE = 60


def extract(
    model: SteerableModel,
    dataset: Dataset,
    layers: Sequence[int] | None = None,
    name: str = "",
    read: ReadPosition = AUTOMATIC,
    method: str = MEAN_DIFFERENCE,
    also: Sequence[Collect] = (),
    know: Know | None = None,
) -> Generator[Progress, None, SteeringVector]:
    """One direction for each layer, from all pairs. Yields `Progress` over the pairs; returns the vector.

    Args:
        layers: which ones; all by default.
        read: where the residual stream is read.
        method: a name of `methods.METHODS`; "single" reads the first pair only.
        also: what else is handed all that is read.
        know: gives directions to which its diagnostics hold it; asked once the pairs are read, which may fail. See
            `known_directions`.

    Raises:
        InputError: a layer that the model does not have, a pair that cannot be read there or is too long, or answers
            that do not differ at the read position.
    """
    fit = method_named(method)
    layers = sorted({model.check_layer(layer) for layer in layers}) if layers is not None else range(model.num_layers)
    if not layers:
        raise InputError("Choose at least one layer.")
    if method == "single":
        dataset = _first_alone(dataset)
    if model.elsewhere:
        if also:
            check_here(model, "Keeping what is read at every pair")
        return (yield from _elsewhere(model, dataset, layers, name, read, method))
    letters, sides = LetterSums(dataset), PromptSides(dataset, len(layers), model.hidden_size)
    differences = to_keep(dataset, layers, model.hidden_size)
    more: list[Collect] = [sides, *filter(None, [differences]), *([letters] if letters.applies else []), *also]
    if method in (MEAN_DIFFERENCE, "single"):
        # A mean needs no more than a running sum, so its memory does not grow with the number of pairs.
        mean = RunningMean()
        medians = yield from read_all(model, dataset, layers, read, mean, *more)
        directions = mean.value
    else:
        check_room(len(dataset.pairs), len(layers), model.hidden_size)
        kept = DifferenceList(len(layers), len(dataset.pairs), model.hidden_size)
        medians = yield from read_all(model, dataset, layers, read, kept, *more)
        directions = yield from _by_layer(fit, kept)
    position = read.of(dataset)
    _check_directions(directions, model, layers, position, dataset)
    keep(model, dataset, position, differences)
    known = (yield from know(model)) if know else NOTHING_KNOWN
    diagnostics = yield from diagnose(sides, layers, known)
    return SteeringVector(
        name or dataset.name,
        {layer: directions[i].clone() for i, layer in enumerate(layers)},
        {layer: medians[i].item() for i, layer in enumerate(layers)},
        _papers(model, dataset, position, method),
        dict(zip(layers, letters.shares(), strict=True)) if letters.applies else {},
        diagnostics,
    )


def _elsewhere(
    model: SteerableModel, dataset: Dataset, layers: Sequence[int], name: str, read: ReadPosition, method: str
) -> Generator[Progress, None, SteeringVector]:
    """The mean difference of a model that runs elsewhere, of which only sums come here, and inner products of some
    prompts: where these are too few, it has no diagnostics.

    Raises:
        InputError: another method is asked for, or what `extract` raises.
    """
    if method not in (MEAN_DIFFERENCE, "single"):
        assert model.elsewhere
        raise InputError(
            f"The method {method} keeps what is read at every pair, which is not done {model.elsewhere.place}: choose "
            f"{MEAN_DIFFERENCE}, or run it on this machine."
        )
    letters = LetterSums(dataset)
    weights = torch.ones(1, len(dataset.pairs), dtype=torch.float32)
    if letters.applies:
        weights = torch.cat([weights, letters.weights])
    kept = KeptPrompts(dataset, MOST_ELSEWHERE)
    sums, medians, places, products = yield from read_sums(model, dataset, layers, read, weights, kept.weights)
    directions, position = sums[0] / len(dataset.pairs), read.of(dataset)
    _check_directions(directions, model, layers, position, dataset)
    diagnostics = None
    if len(places) >= min(ENOUGH, kept.prompts):
        diagnostics = yield from diagnose_products(products, layers, kept.prompts, kept.folds(places))
    return SteeringVector(
        name or dataset.name,
        {layer: directions[i].clone() for i, layer in enumerate(layers)},
        {layer: medians[i].item() for i, layer in enumerate(layers)},
        _papers(model, dataset, position, method),
        dict(zip(layers, shares_of(sums[1:]), strict=True)) if letters.applies else {},
        diagnostics,
    )


def _papers(model: SteerableModel, dataset: Dataset, position: ReadPosition, method: str) -> Provenance:
    return Provenance(
        model=model.name,
        model_fingerprint=model.fingerprint,
        model_architecture=model.architecture,
        num_layers=model.num_layers,
        method=method,
        read_position=str(position),
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        num_pairs=len({pair.line for pair in dataset.pairs}),  # both letter orders are one pair
        chat_template_sha256=model.template_sha256,
        pairs_sha256=dataset.pairs_sha256,
    )


def _check_directions(
    directions: torch.Tensor, model: SteerableModel, layers: Sequence[int], position: ReadPosition, dataset: Dataset
) -> None:
    for layer, direction in zip(layers, directions, strict=True):
        _check_direction(direction, model, layer, f"Read at '{position}', the answers of {dataset.name}")


def _check_direction(direction: torch.Tensor, model: SteerableModel, layer: int, read: str) -> None:
    if not direction.isfinite().all():
        raise InputError(f"{model.name} gives NaN or infinity at layer {layer} in {model.dtype}; load it in float32.")
    if not direction.any():
        raise InputError(
            f"{read} do not differ at layer {layer}: what the model has read up to there is the same. Choose another "
            "read position."
        )


@handed_over
def preset_vector(
    model: SteerableModel, preset: Preset, layers: Sequence[int] | None = None
) -> Generator[Progress, None, SteeringVector]:
    """The preset's vector: the one that ships with the project where it was made on these weights, else a new one."""
    if preset.vector_file.exists():
        ready = load_vector(preset.vector_file)
        if not ready.differences(model):
            return ready
    return (yield from extract(model, preset.dataset(), layers, preset.name))


def _first_alone(dataset: Dataset) -> Dataset:
    """The first pair, in both letter orders where the dataset has them."""
    line = dataset.pairs[0].line
    return replace(dataset, pairs=tuple(pair for pair in dataset.pairs if pair.line == line))


class RunningMean:
    """Mean over pairs of positive minus negative: `value` is [layers, hidden_size]."""

    def __init__(self) -> None:
        self._total = torch.zeros((), dtype=torch.float32)
        self._count = 0

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        self._total = self._total + (positive - negative).sum(1)
        self._count += len(pairs)

    @property
    def value(self) -> torch.Tensor:
        return self._total / self._count


class DifferenceList:
    """Everything that was read: `positive` and `negative` are [layers, pairs, hidden_size], in the dataset's order."""

    def __init__(self, layers: int, pairs: int, hidden_size: int) -> None:
        self.positive = torch.empty(layers, pairs, hidden_size, dtype=torch.float32)
        self.negative = torch.empty_like(self.positive)

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        self.positive[:, pairs], self.negative[:, pairs] = positive, negative


class LetterSums:
    """How much of a vector made in one letter order is the letter.

    From pairs in both letter orders come the mean over the order as given, and the direction from the later letter to
    the earlier one, in which the behaviour cancels.
    """

    def __init__(self, dataset: Dataset) -> None:
        both = {pair.line for pair in dataset.pairs if pair.swapped_copy}
        self.applies = bool(both)
        given = [float(p.line in both and not p.swapped_copy) for p in dataset.pairs]
        signs = [(1.0 if p.positive < p.negative else -1.0) * (p.line in both) for p in dataset.pairs]
        self.weights = torch.tensor([given, signs], dtype=torch.float32)  # [2, pairs]
        self._sums = torch.zeros((), dtype=torch.float32)

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        self._sums = self._sums + torch.einsum("wp,lph->wlh", self.weights[:, pairs], positive - negative)

    def shares(self) -> list[float]:
        """By layer, the share of the squared norm of the vector in the given order that lies along the letter."""
        return shares_of(self._sums)


def shares_of(sums: torch.Tensor) -> list[float]:
    """See `LetterSums.shares`; sums: [2, layers, hidden_size], by its weights."""
    given, letter = sums
    return (torch.cosine_similarity(given, letter, dim=-1) ** 2).tolist()


def _by_layer(fit: Method, kept: DifferenceList) -> Generator[Progress, None, torch.Tensor]:
    """[layers, hidden_size]: a direction for each layer, fitted one a step."""
    directions = []
    progress = Progress(len(kept.positive), "layers fitted", len(kept.positive))
    for positive, negative in zip(kept.positive, kept.negative, strict=True):
        directions.append(fit(positive, negative))
        yield progress.advance(1, 1)
    return torch.stack(directions)

"""What any vector would do to items, to first order: the gradient of an item's measure by what is added at each layer.

The measure is the one that is scored: log p(positive) - log p(negative), in nats a token; of lettered answers the log
odds. What is added is the same at every steered position, so the gradient is the sum over them of that by the block's
output, and times a vector it is the derivative of the exact change by the vector's multiplier, at multiplier 0. One
forward and one backward pass an item serve all vectors at all layers.
"""

from collections.abc import Generator, Iterator, Sequence
from weakref import WeakSet

import torch
from transformers import DynamicCache

from caa_core.data.pairs import ContrastPair
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.model.machine import free_memory
from caa_core.model.prompts import NO_CUE, Cue
from caa_core.progress import Progress
from caa_core.steering.batching import SHARE, batches, budget, in_halves, out_of_memory
from caa_core.steering.interventions import AFTER_PROMPT, Positions, Steer
from caa_core.steering.pair_rows import KeysAndValues, check_attention_mask, inputs_of, read_shared_prefix
from caa_core.steering.passes import differentiable_logits_at
from caa_core.steering.plan import Plan
from caa_core.steering.scored_items import ScoredItem, answers_of, fit, read_prefixes
from caa_core.steering.scoring import score

# A pass backwards takes twice as long as one forwards.
PASSES = 3

# How many times the hidden size autograd keeps of each token and block.
KEPT = 64

# The exact changes against which gradients are held, in nats a token, larger where rounding is; how far the two may lie
# apart; and on how many items.
TRIED, APART, FEW = {"float32": 0.02, "bfloat16": 0.2}, 0.25, 4


class NoEstimateError(InputError):
    """The model has no backward pass, or not the one that belongs to its forward pass."""


def gradients(
    model: SteerableModel,
    pairs: Sequence[ContrastPair],
    weights: torch.Tensor,
    layers: Sequence[int],
    positions: Positions = AFTER_PROMPT,
    cue: Cue = NO_CUE,
    system: str = "",
    checked: bool = True,
) -> Generator[Progress, None, torch.Tensor]:
    """Weighted sums of the pairs' gradients: [sums, layers, hidden_size], float32, on the CPU.

    What comes before the steered tokens is read once and without autograd. Yields `Progress` over the items.

    Args:
        weights: [sums, pairs]; the unit matrix gives every pair's own gradient.
        system: a system prompt before every pair.
        checked: whether a model's gradients are held against exact changes before, see `check_gradients`.

    Raises:
        NoEstimateError: this model cannot be differentiated.
        InputError: what `scoring.check` raises.
    """
    check_attention_mask(model)
    if checked:
        yield from check_gradients(model, pairs, positions, cue)
    items = [ScoredItem.of(model, pair, positions, cue, system) for pair in pairs]
    if model.elsewhere:
        there: torch.Tensor = yield from model.elsewhere.slopes(items, weights, layers, positions)
        return there
    found = torch.zeros(len(weights), len(layers), model.hidden_size, dtype=torch.float32)
    progress = Progress(len(items), "gradients", sum(item.split + PASSES * item.tail for item in items))
    yield progress
    beginning = read_shared_prefix(model, [item.row for item in items], min(item.split for item in items))
    each = sorted({*layers})
    asked = [each.index(layer) for layer in layers]

    def together(batch: list[int]) -> Iterator[Progress]:
        chosen = [items[i] for i in batch]
        prefix = yield from read_prefixes(model, chosen, beginning, progress)
        own = _differentiated(model, chosen, prefix, positions, each)[asked]
        found.add_(torch.einsum("sp,lph->slh", weights[:, batch].float(), own))
        yield progress.advance(len(batch), PASSES * sum(item.tail for item in chosen))

    tails = [item.tail for item in items]
    room = gradient_budget(model)

    def fits(batch: list[int]) -> bool:
        chosen = [items[i] for i in batch]
        return len(batch) * max(tails[i] for i in batch) <= room and fit(model, chosen)

    for batch in batches([item.row for item in items], PASSES * budget(model), fits):
        yield from in_halves(batch, together)
    return found


def gradient_budget(model: SteerableModel) -> int:
    """Tokens of one pass forwards and backwards: as long a step as others, and as far as free memory goes."""
    numbers = model.num_layers * KEPT * model.hidden_size
    return max(1, min(budget(model) // PASSES, int(SHARE * free_memory(model.device.type) / numbers / 4)))


def _differentiated(
    model: SteerableModel,
    items: Sequence[ScoredItem],
    prefix: list[KeysAndValues],
    positions: Positions,
    layers: Sequence[int],
) -> torch.Tensor:
    """[layers, items, hidden_size], float32, on the CPU: autograd goes back no further than to the first of the layers.
    Raises NoEstimateError where there is no backward pass.
    """
    inputs = inputs_of(model, [item.row for item in items], [item.split for item in items])
    inputs.cache = DynamicCache(prefix)
    lengths, thoughts = [item.prompt_length for item in items], [item.thought for item in items]
    plan = Plan([()] * len(items), [positions] * len(items), lengths, thoughts)
    mask = plan.mask(inputs.positions)[..., None]
    # Autograd sums over the positions in the dtype of what was added, float32.
    shape = len(layers), len(items), model.hidden_size
    added = torch.zeros(shape, dtype=torch.float32, device=model.device, requires_grad=True)
    places = [(r, column - item.split) for r, item in enumerate(items) for column in item.columns]
    with torch.enable_grad():
        each = [torch.where(mask, one[:, None], 0.0).to(model.dtype) for one in added]
        additions = dict(zip(layers, each, strict=True))
        try:
            logits = differentiable_logits_at(model, inputs, additions, *map(list, zip(*places, strict=True)))
            sizes = [len(item.columns) for item in items]
            both = logits[:, None], logits.logsumexp(-1)[:, None]
            parts = zip(items, *(torch.split(numbers, sizes) for numbers in both), strict=True)
            answers = [answers_of(*part)[:2] for part in parts]
            torch.autograd.backward(torch.stack([positive - negative for positive, negative in answers]).sum())
        except Exception as error:  # each kernel without a backward pass fails in its own way
            if out_of_memory(error):
                raise
            raise _none(model) from error
    if added.grad is None or not added.grad.isfinite().all():
        raise _none(model)
    return added.grad.cpu()


# Models whose gradients have been held against exact changes.
_CHECKED: WeakSet[SteerableModel] = WeakSet()


def tried_layers(model: SteerableModel) -> list[int]:
    """At which its gradients are held against exact changes: the first and the middle one."""
    return sorted({0, model.num_layers // 2})


def check_gradients(
    model: SteerableModel,
    pairs: Sequence[ContrastPair],
    positions: Positions = AFTER_PROMPT,
    cue: Cue = NO_CUE,
    slopes: torch.Tensor | None = None,
) -> Generator[Progress, None, None]:
    """Make sure, once a model, that its gradients are the derivatives of what is scored: on a few of the pairs, what
    steps along their mean gradient at `tried_layers` really do. Yields `Progress`.

    Args:
        slopes: the mean gradient of all of the pairs there, [tried layers, hidden_size], where it is known.

    Raises:
        NoEstimateError: they are not, or there are none.
    """
    if model in _CHECKED:
        return
    few, tried = pairs if slopes is not None else pairs[:FEW], tried_layers(model)
    if slopes is None:
        weights = torch.full((1, len(few)), 1 / len(few))
        slopes = (yield from gradients(model, few, weights, tried, positions, cue, checked=False))[0]
    wanted = TRIED.get(model.precision, max(TRIED.values()))
    steps = [wanted / slope.norm() ** 2 * slope for slope in slopes]
    runs = [(Steer(step, layer, sign),) for layer, step in zip(tried, steps, strict=True) for sign in (1.0, -1.0)]
    found = (yield from score(model, few, runs, positions, cue)).preference[1:].mean(1)
    exact = (found[::2] - found[1::2]) / 2
    if not ((exact - wanted).abs() <= APART * wanted).all():
        raise _none(model)
    _CHECKED.add(model)


def _none(model: SteerableModel) -> NoEstimateError:
    return NoEstimateError(
        f"There is no estimate for this model: {model.name} cannot be differentiated as it is loaded here."
    )

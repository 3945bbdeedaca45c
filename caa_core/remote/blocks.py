"""What runs at an NDIF host: module-level functions of tensors and plain data, which are sent there as their source.

They know nothing of this project but other such functions, since nothing of it is installed there, and no class of it
is sent: what dataclasses generate is bytecode, which another Python does not read. `nn` is nnsight's model, `where` the
paths of its blocks and head, with its sizes.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from caa_core.model.loading import hidden_of
from caa_core.steering.activations import products_of
from caa_core.steering.divergence import kl_divergence, log_sums
from caa_core.steering.generation import chosen
from caa_core.steering.pair_rows import additive_masks, laid_out
from caa_core.steering.scored_items import aligned_places, answers_at


def probe(nn: Any, where: dict[str, Any], mark: dict[str, Any]) -> dict[str, Any]:
    """What the client has to know of the model as it runs there: its dtype and kind of device; what its blocks put out
    for three tokens; and, by rows of two answers under their mask and each answer alone, how far the two are apart.
    """
    with torch.no_grad():
        row, alone = mark["row"], mark["alone"]
        shape = tuple(last_stream(nn, where, plain_inputs(torch.tensor([[0, 1, 2]]))).shape)
        dtype = nn._module.dtype
        together = last_stream(nn, where, pair_inputs(where, [row], [0], 1, dtype))[0, mark["columns"]].float()
        each = torch.stack([last_stream(nn, where, plain_inputs(ids))[0, -1].float() for ids in alone])
        apart = ((together - each).norm(dim=-1) / each.norm(dim=-1)).max().item()
        return {"dtype": str(dtype), "device": nn.device.type, "shape": list(shape), "apart": apart}


def last_stream(nn: Any, where: dict[str, Any], inputs: dict[str, Any]) -> torch.Tensor:
    """The last block's output, [rows, tokens, hidden_size]."""
    blocks = list(nn.get(where["blocks"]))
    with traced(nn, inputs):
        stream = hidden_of(blocks[-1].output)
    return stream


def plain_inputs(ids: torch.Tensor) -> dict[str, Any]:
    """Unpadded rows [rows, tokens], without a cache."""
    return call_of(ids, torch.arange(ids.shape[1]).expand_as(ids), torch.ones_like(ids))


def call_of(
    ids: torch.Tensor, positions: torch.Tensor, mask: Any, cache: Any = None, last: bool = False
) -> dict[str, Any]:
    """What a forward pass is called with; last: whether logits of the last tokens alone are wanted.

    An index of logits is a tensor, which has nnsight hand all of it to the model as it is.
    """
    keep = torch.tensor([-1]) if last else torch.arange(ids.shape[1])
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": mask,
        "past_key_values": cache,
        "use_cache": cache is not None,
        "logits_to_keep": keep,
    }


def traced(nn: Any, inputs: dict[str, Any]) -> Any:
    """A trace of one forward pass, to be entered by `with`."""
    if not isinstance(inputs["attention_mask"], dict):
        return nn.trace(**inputs)
    # Masks by kinds of layers are none that nnsight puts together from rows, so the model is called as it is.
    there = {name: moved(value, nn.device) for name, value in inputs.items()}
    return nn.trace(there["input_ids"], fn=lambda *_, **__: nn._module(**there))


def moved(value: Any, device: Any) -> Any:
    """Tensors, by themselves or in a dict, on a device."""
    if isinstance(value, dict):
        return {name: moved(one, device) for name, one in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


def pair_inputs(
    where: dict[str, Any], rows: list[tuple[tuple[int, ...], int, int]], read: list[int], copies: int, dtype: Any
) -> dict[str, Any]:
    """Rows of two answers, see `pair_rows.laid_out`, of which a cache holds the first `read` tokens."""
    ids, positions, seen = laid_out(rows, read, copies)
    before = max(read)
    mask = additive_masks(seen, positions, before, where["window"], where["kinds"], dtype)
    return call_of(ids, positions[:, before:], mask)


def added(
    spans: torch.Tensor, sums: dict[int, torch.Tensor], positions: torch.Tensor, dtype: torch.dtype
) -> list[tuple[int, torch.Tensor]]:
    """By rising layer, what is added to the output of that block, [rows, tokens, hidden_size].

    spans: the first steered position of each of the plan's rows and the one behind the last, [plan rows, 2]; sums: by
    layer, what is added to each, [plan rows, hidden_size]. A row of `positions` holds the tokens of one or several.
    """
    own = positions.reshape(len(spans), -1)
    mask = ((own >= spans[:, :1]) & (own < spans[:, 1:]))[..., None]
    return [
        (layer, torch.where(mask, total.to(dtype)[:, None], 0).view(*positions.shape, -1))
        for layer, total in sorted(sums.items())
    ]


def with_stream(output: Any, stream: torch.Tensor) -> Any:
    """A block's output with another residual stream."""
    return (stream, *output[1:]) if isinstance(output, tuple) else stream


def add_to(block: Any, change: torch.Tensor) -> None:
    """Inside a trace: add to a block's output."""
    output = block.output
    stream = hidden_of(output)
    block.output = with_stream(output, stream + change.to(stream.device))


def put_in_place(block: Any, streams: torch.Tensor) -> None:
    """Inside a trace: put residual streams [rows, hidden_size] in place of what a block puts out for single tokens."""
    output = block.output
    stream = hidden_of(output)
    block.output = with_stream(output, streams[:, None].to(stream.device, stream.dtype))


def written(
    nn: Any,
    where: dict[str, Any],
    rows: dict[str, Any],
    groups: list[tuple[int, float, int, int]],
    mark: str,
) -> dict[str, Any]:
    """Write so many tokens of each row, as `generation.generate` does: greedily, or with noise that a group shares.

    rows: `ids` of each, `spans`, `sums` (see `added`), how many tokens are `left` to each, and which tokens are `ends`.
    groups: how many rows, their temperature, seed, and how many tokens were drawn before. Prints each step with its
    number, a token a row, -1 where it has ended. Returns `tokens` [rows, steps], and which rows were `valid`: not
    overflowed.
    """
    with torch.no_grad():
        ids, positions, mask = padded(rows["ids"])
        cache, dtype = DynamicCache(), nn._module.dtype
        draws = [(size, heat, started(seed, before, where["vocabulary"], heat)) for size, heat, seed, before in groups]
        left, ends = torch.tensor(rows["left"]), torch.tensor(rows["ends"])
        steps: list[torch.Tensor] = []
        valid = torch.ones(len(left), dtype=torch.bool)
        for step in range(int(left.max())):
            changes = added(rows["spans"], rows["sums"], positions, dtype)
            output = changed(nn, where, call_of(ids, positions, mask, cache, last=True), changes)
            cache, logits = output.past_key_values, output.logits[:, -1]
            parts = torch.split(logits, [size for size, _, _ in draws])
            tokens = torch.cat(
                [chosen(part, heat, how) for part, (_, heat, how) in zip(parts, draws, strict=True)]
            ).cpu()
            good = ~logits.cpu().gather(-1, tokens[:, None])[:, 0].isnan()
            alive = (left > step) & valid
            valid &= good | ~alive
            steps.append(torch.where(alive & good, tokens, -1))
            left = torch.where(torch.isin(tokens, ends) & alive, 0, left)
            print(f"{mark}{step}:{','.join(map(str, steps[-1].tolist()))}", flush=True)
            if not ((left > step + 1) & valid).any():
                break
            ids, positions = tokens[:, None], positions[:, -1:] + 1
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        return {"tokens": torch.stack(steps, dim=1), "valid": valid}


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, positions and mask [rows, tokens] of rows that are padded on the left."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for r, row in enumerate(rows):
        ids[r, width - len(row) :] = torch.tensor(row)
        mask[r, width - len(row) :] = 1
    return ids, (mask.cumsum(-1) - 1).clamp(min=0), mask


def started(seed: int, before: int, vocabulary: int, temperature: float) -> torch.Generator:
    """Random numbers as they are after so many tokens."""
    random = torch.Generator().manual_seed(seed)
    for _ in range(before if temperature else 0):
        torch.empty(vocabulary, dtype=torch.float32).exponential_(generator=random)
    return random


def changed(nn: Any, where: dict[str, Any], inputs: dict[str, Any], changes: list[tuple[int, torch.Tensor]]) -> Any:
    """One pass with something added to the output of some blocks. Returns the model's output."""
    blocks = list(nn.get(where["blocks"]))
    with traced(nn, inputs) as tracer:
        for layer, change in changes:
            add_to(blocks[layer], change)
        result = tracer.result
    return result


def head_weights(nn: Any, where: dict[str, Any], dtype: torch.dtype) -> tuple[torch.Tensor, Any]:
    """Weight and bias of the layer from the residual stream to logits."""
    head = nn.get(where["head"])._module
    return head.weight.to(dtype), None if head.bias is None else head.bias.to(dtype)


def unsteered_at(
    nn: Any, where: dict[str, Any], inputs: dict[str, Any], places: tuple[list[int], list[int]], layers: list[int]
) -> tuple[dict[int, Any], torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `passes.unsteered_logits_at`: outputs of some blocks; what goes into the head at some places, what a float32
    head makes of it, and the model's logits, [places, ...] each.
    """
    blocks, head = list(nn.get(where["blocks"])), nn.get(where["head"])
    rows, columns = places
    weights = head_weights(nn, where, torch.float32)
    outputs = {}
    with traced(nn, inputs) as tracer:
        for layer in sorted(layers):
            outputs[layer] = blocks[layer].output
        hidden = head.input[rows, columns].float()
        made = torch.nn.functional.linear(hidden, *weights)
        head.skip(made[None])
        logits = tracer.result.logits
    return outputs, hidden, made, logits[0]


def steered_at(
    nn: Any,
    where: dict[str, Any],
    inputs: dict[str, Any],
    changes: list[tuple[int, torch.Tensor]],
    unsteered: tuple[dict[int, Any], torch.Tensor, torch.Tensor, torch.Tensor],
    places: tuple[list[int], list[int]],
) -> torch.Tensor:
    """As `passes.steered_logits_at`: logits [places, copies, vocabulary] of what the blocks from the first change on
    make of copies of the tokens that `unsteered` has seen.
    """
    blocks, head = list(nn.get(where["blocks"])), nn.get(where["head"])
    outputs, before, made, _ = unsteered
    (first, change), *further = changes
    below = outputs[first]
    stream = hidden_of(below)
    start = with_stream(below, stream.repeat(1, change.shape[1] // stream.shape[1], 1) + change.to(stream.device))
    rows, columns = places
    weight, _ = head_weights(nn, where, stream.dtype)
    logits: torch.Tensor
    with traced(nn, inputs) as tracer:
        for layer in range(first + 1):
            blocks[layer].skip(start)
        for layer, one in further:
            add_to(blocks[layer], one)
        moved = head.input[rows, columns].view(len(before), -1, before.shape[-1]) - before[:, None]
        head.skip(torch.nn.functional.linear(moved.to(weight.dtype), weight).float() + made[:, None])
        logits = tracer.result.logits
    return logits


def scored(
    nn: Any,
    where: dict[str, Any],
    items: list[dict[str, Any]],
    runs: dict[str, Any],
    batches: list[list[int]],
    limits: dict[str, int],
    costs: bool,
) -> dict[str, torch.Tensor]:
    """The numbers of `scoring.Scores` of items under runs, 0 being the unsteered one: [4, runs, items].

    items: what `ScoredItem` says of each. runs: `vectors` [n, hidden_size]; `steers`, for each run its (vector, layer,
    multiplier); `spans` [runs, items, 2] of positions that are steered. limits: tokens and logits of one pass.
    """
    found = torch.full((4, 1 + len(runs["steers"]), len(items)), torch.nan)
    with torch.no_grad():
        for batch in batches:
            chosen_items = [items[i] for i in batch]
            numbers = scored_together(nn, where, chosen_items, batch, runs, limits, costs)
            for share, part in numbers:
                found[:, torch.tensor(share)[:, None], torch.tensor(batch)[None]] = part
    return {"found": found}


def told(
    nn: Any,
    where: dict[str, Any],
    contexts: list[list[dict[str, Any]]],
    runs: list[dict[str, Any]],
    batches: list[list[int]],
    limits: dict[str, int],
) -> dict[str, torch.Tensor]:
    """As `told.score_told`: numbers of items behind each of some contexts but the first, in which nothing is told and
    from which the KL is counted, [contexts - 1, 4, runs, items]; runs: those of each context.
    """
    plain, *others = contexts
    found = torch.full((len(others), 4, 1 + len(runs[-1]["steers"]), len(plain)), torch.nan)
    with torch.no_grad():
        for batch in batches:
            first = [plain[i] for i in batch]
            dtype = nn._module.dtype
            inputs, places = tails(where, first, read_prefixes(nn, where, first, dtype), 1, dtype)
            logp = unsteered_at(nn, where, inputs, places, [])[3].log_softmax(-1)
            for context, items in enumerate(others):
                own = [items[i] for i in batch]
                apart = [one["answers"] != other["answers"] for one, other in zip(first, own, strict=True)]
                here, wanted = ([len(item["columns"]) for item in some] for some in (first, own))
                against = aligned_places(logp, here, wanted, apart)
                for share, part in scored_together(nn, where, own, batch, runs[context], limits, True, against):
                    found[context][:, torch.tensor(share)[:, None], torch.tensor(batch)[None]] = part
                found[context, 3, :, torch.tensor(batch)[torch.tensor(apart)]] = torch.nan
    return {"found": found}


def scored_together(
    nn: Any,
    where: dict[str, Any],
    items: list[dict[str, Any]],
    batch: list[int],
    runs: dict[str, Any],
    limits: dict[str, int],
    costs: bool,
    against: torch.Tensor | None = None,
) -> list[tuple[list[int], torch.Tensor]]:
    """Of some items, whose prefixes are read once: numbers of runs, and what `numbers_of` says of them. against: what
    the KL is counted from, if not the unsteered model.
    """
    dtype = nn._module.dtype
    kept = read_prefixes(nn, where, items, dtype)
    begins = by_first_layer(runs)
    inputs, places = tails(where, items, kept, 1, dtype)
    unsteered = unsteered_at(nn, where, inputs, places, [layer for layer in begins if layer >= 0])
    logp = unsteered[3].log_softmax(-1)
    from_here = logp if against is None else against
    nothing = [0, *begins.pop(-1, [])]
    plain = numbers_of(items, from_here, logp[:, None], logp.new_zeros(len(logp), 1), costs)
    found = [(nothing, plain.expand(-1, len(nothing), -1))]
    width = max(item["tail"] for item in items)
    most = min(limits["tokens"] // (len(items) * width), limits["logits"] // logp.numel())
    for own in begins.values():
        for first in range(0, len(own), max(1, most)):
            share = own[first : first + max(1, most)]
            inputs, places = tails(where, items, kept, len(share), dtype)
            spans, sums = plan_of(runs, share, batch)
            changes = added(spans, sums, inputs["position_ids"], dtype)
            logits = steered_at(nn, where, inputs, changes, unsteered, places)
            found.append((share, numbers_of(items, from_here, logits, log_sums(logits), costs)))
    return found


def by_first_layer(runs: dict[str, Any]) -> dict[int, list[int]]:
    """Numbers of runs, from 1, by the lowest layer at which they add anything; -1 for those that add nothing."""
    found: dict[int, list[int]] = {}
    for run, steers in enumerate(runs["steers"], 1):
        layers = sorted(total_of(runs["vectors"], steers))
        found.setdefault(layers[0] if layers else -1, []).append(run)
    return found


def total_of(vectors: torch.Tensor, steers: list[tuple[int, int, float]]) -> dict[int, torch.Tensor]:
    """By layer, the sum of what is added there, [hidden_size]; without those that come to nothing."""
    sums: dict[int, torch.Tensor] = {}
    for which, layer, multiplier in steers:
        sums[layer] = sums.get(layer, torch.zeros_like(vectors[which])) + multiplier * vectors[which]
    return {layer: total for layer, total in sums.items() if total.any()}


def plan_of(runs: dict[str, Any], share: list[int], batch: list[int]) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """Spans and sums of a row for each item and, within it, for each of some runs; see `added`."""
    spans = torch.stack([runs["spans"][run - 1, item] for item in batch for run in share])
    totals = [total_of(runs["vectors"], runs["steers"][run - 1]) for run in share]
    nothing = torch.zeros(runs["vectors"].shape[1])
    return spans, {
        layer: torch.stack([total.get(layer, nothing) for _ in batch for total in totals])
        for layer in sorted({layer for total in totals for layer in total})
    }


def read_prefixes(nn: Any, where: dict[str, Any], items: list[dict[str, Any]], dtype: Any) -> list[tuple[Any, Any]]:
    """Keys and values of what comes before the items' tails, by layer, right-padded, one row an item."""
    rows = [(item["ids"][: item["split"]], item["split"], item["split"]) for item in items]
    if not max(item["split"] for item in items):
        return []
    inputs = pair_inputs(where, rows, [0] * len(rows), 1, dtype)
    inputs.update(past_key_values=DynamicCache(), use_cache=True, logits_to_keep=torch.tensor([-1]))
    cache = changed(nn, where, inputs, []).past_key_values
    return [(layer.keys, layer.values) for layer in cache.layers]


def tails(
    where: dict[str, Any], items: list[dict[str, Any]], kept: list[tuple[Any, Any]], copies: int, dtype: Any
) -> tuple[dict[str, Any], tuple[list[int], list[int]]]:
    """Inputs behind what is read, with so many copies of each tail, and row and column of everything predicted: by
    item, place of the item, copy.
    """
    rows = [(item["ids"], item["shared"], item["negative_start"]) for item in items]
    inputs = pair_inputs(where, rows, [item["split"] for item in items], copies, dtype)
    inputs.update(past_key_values=DynamicCache(kept), use_cache=True)
    width = max(item["tail"] for item in items)
    places = [
        (r, copy * width + column - item["split"])
        for r, item in enumerate(items)
        for column in item["columns"]
        for copy in range(copies)
    ]
    return inputs, ([r for r, _ in places], [column for _, column in places])


def numbers_of(
    items: list[dict[str, Any]], logp: torch.Tensor, logits: torch.Tensor, sums: torch.Tensor, costs: bool
) -> torch.Tensor:
    """[4, runs, items]: positive, negative, mass, KL, from logits [places, runs, vocabulary] and their `log_sums`."""
    kl = kl_divergence(logp, logits, sums) if costs else torch.full_like(sums, torch.nan)
    sizes = [len(item["columns"]) for item in items]
    parts = zip(items, *(torch.split(numbers, sizes) for numbers in (logits, sums, kl)), strict=True)
    found = [
        torch.stack([*answers_at(item["answers"], item["choice"], *own), cost.mean(0)]) for item, *own, cost in parts
    ]
    return torch.stack(found, dim=-1).float().cpu()


def sloped(
    nn: Any,
    where: dict[str, Any],
    items: list[dict[str, Any]],
    spans: torch.Tensor,
    weights: torch.Tensor,
    layers: list[int],
    batches: list[list[int]],
) -> dict[str, torch.Tensor]:
    """Weighted sums of the gradients of items' measures by what is added at each layer, [sums, layers, hidden_size];
    see `gradients`. spans: [items, 2]; weights: [sums, items]. What comes before the tails is read without autograd.
    """
    total = torch.zeros(len(weights), len(layers), where["hidden"])
    for batch in batches:
        own = slopes_of(nn, where, [items[i] for i in batch], spans[batch])[layers]
        total += torch.einsum("sp,lph->slh", weights[:, batch], own)
    return {"sums": total}


def slopes_of(nn: Any, where: dict[str, Any], items: list[dict[str, Any]], spans: torch.Tensor) -> torch.Tensor:
    """[layers, items, hidden_size]. Raises RuntimeError where there is no backward pass."""
    dtype = nn._module.dtype
    with torch.no_grad():
        kept = read_prefixes(nn, where, items, dtype)
    inputs, places = tails(where, items, kept, 1, dtype)
    positions = inputs["position_ids"]
    mask = ((positions >= spans[:, :1]) & (positions < spans[:, 1:]))[..., None]
    shape = where["layers"], len(items), where["hidden"]
    given = torch.zeros(shape, dtype=torch.float32, requires_grad=True)
    with torch.enable_grad():
        changes = [(layer, torch.where(mask, one[:, None], 0.0).to(dtype)) for layer, one in enumerate(given)]
        logits = float32_logits(nn, where, inputs, changes, places)
        sizes = [len(item["columns"]) for item in items]
        both = torch.split(logits[:, None], sizes), torch.split(logits.logsumexp(-1)[:, None], sizes)
        found = [answers_at(item["answers"], item["choice"], *own) for item, *own in zip(items, *both, strict=True)]
        torch.autograd.backward(torch.stack([positive - negative for positive, negative, _ in found]).sum())
    if given.grad is None or not given.grad.isfinite().all():
        raise RuntimeError("there is no backward pass")
    return given.grad


def float32_logits(
    nn: Any,
    where: dict[str, Any],
    inputs: dict[str, Any],
    changes: list[tuple[int, torch.Tensor]],
    places: tuple[list[int], list[int]],
) -> torch.Tensor:
    """One pass with something added to the output of blocks: logits [places, vocabulary] of a float32 head."""
    blocks, head = list(nn.get(where["blocks"])), nn.get(where["head"])
    rows, columns = places
    weights = head_weights(nn, where, torch.float32)
    logits: torch.Tensor
    with traced(nn, inputs) as tracer:
        for layer, change in changes:
            add_to(blocks[layer], change)
        head.skip(torch.nn.functional.linear(head.input[rows, columns].float(), *weights)[None])
        logits = tracer.result.logits
    return logits[0]


def summed(
    nn: Any,
    where: dict[str, Any],
    rows: list[dict[str, Any]],
    weights: torch.Tensor,
    prompts: torch.Tensor,
    layers: list[int],
    batches: list[list[int]],
) -> dict[str, torch.Tensor]:
    """What vectors are made of: the sum over pairs of weights [sums, pairs] times what is read at the positive answer
    less what is read at the negative one, [sums, layers, hidden_size]; the norms of the residual stream at every token
    read, [layers, tokens]; and of prompts, weights [prompts, pairs], `products_of`, [layers, 2, prompts, prompts].
    rows: `ids`, `shared`, `negative_start`, and the columns read of either answer.
    """
    total, norms = torch.zeros(len(weights), len(layers), where["hidden"]), []
    sides = torch.zeros(2, len(layers), len(prompts), where["hidden"])
    with torch.no_grad():
        for batch in batches:
            both, lengths = read_sides(nn, where, [rows[i] for i in batch], layers)
            total += torch.einsum("sp,lph->slh", weights[:, batch], both[0] - both[1])
            sides += prompts[:, batch] @ both
            norms.append(lengths)
        products = [products_of(*both) for both in sides.unbind(1)]
    return {"sums": total, "norms": torch.cat(norms, dim=1), "products": torch.stack(products).float()}


def read_sides(
    nn: Any, where: dict[str, Any], rows: list[dict[str, Any]], layers: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One pass: what is read at the positive and at the negative answers, each the mean over its tokens, [2, layers,
    pairs, hidden_size], and norms.
    """
    blocks = list(nn.get(where["blocks"]))
    laid = [(row["ids"], row["shared"], row["negative_start"]) for row in rows]
    inputs = pair_inputs(where, laid, [0] * len(rows), 1, nn._module.dtype)
    inputs["logits_to_keep"] = torch.tensor([-1])
    places = [
        (answer, r, column)
        for answer, side in enumerate(("positive", "negative"))
        for r, row in enumerate(rows)
        for column in row[side]
    ]
    at, columns = [r for _, r, _ in places], [column for _, _, column in places]
    weights = torch.zeros(2 * len(rows), len(places))
    for place, (answer, r, _) in enumerate(places):
        weights[answer * len(rows) + r, place] = 1.0
    weights = weights / weights.sum(1, keepdim=True)
    read = []
    with traced(nn, inputs) as tracer:
        for layer in layers:
            stream = hidden_of(blocks[layer].output)[at, columns].float()
            read.append(((weights.to(stream.device) @ stream).cpu(), stream.norm(dim=-1).cpu()))
        tracer.stop()
    both = torch.stack([one.view(2, len(rows), -1) for one, _ in read], dim=1)
    return both, torch.stack([norm for _, norm in read])

"""Looking inside at an NDIF host: a block of one job, and what it says as numbers, which is made here in the same way.

See `blocks` for what may stand here, and `measuring.inspection` for what the numbers mean.
"""

from __future__ import annotations

from typing import Any

import torch

from caa_core.model.loading import hidden_of
from caa_core.remote.blocks import add_to, added, call_of, head_weights, put_in_place, traced
from caa_core.steering.divergence import kl_divergence


def aligned(stream: torch.Tensor, vector: torch.Tensor) -> dict[str, torch.Tensor]:
    """How far a residual stream [tokens, hidden_size] points along a vector: projections and cosines, [tokens]."""
    projections = stream @ (vector / vector.norm()).float()
    return {"projections": projections, "cosines": projections / stream.norm(dim=-1)}


def next_numbers(logp: torch.Tensor, listed: int) -> dict[str, torch.Tensor]:
    """Of log-probabilities [2, vocabulary], unsteered and steered: the tokens whose probability grows and falls most,
    [2, listed], and their probabilities, [2 ways, 2 runs, listed]; and KL(unsteered ‖ steered) in nats.
    """
    both = logp.exp()
    change = both[1] - both[0]
    tokens = torch.stack([change.topk(min(listed, len(change)), largest=largest).indices for largest in (True, False)])
    return {"movers": tokens, "moved": both[:, tokens].transpose(0, 1), "kl": kl_divergence(logp[:1], logp[None, 1:])}


def lens_numbers(logp: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of log-probabilities [2, layers, vocabulary]: the likeliest token after each layer and its probability, [2,
    layers]; and the probability of the last ones at each layer, [2 runs, 2 finals, layers].
    """
    best = logp.max(-1)
    toward = logp[:, :, best.indices[:, -1]].exp().transpose(1, 2)
    return {"best": best.indices, "likely": best.values.exp(), "toward": toward}


def promoted(with_it: torch.Tensor, against: torch.Tensor, listed: int) -> dict[str, torch.Tensor]:
    """Of logits [vocabulary] of a vector and of its opposite: the tokens that it promotes and suppresses, and by how
    much, [2, listed].
    """
    logits = (with_it - against) / 2
    logits = logits - logits.mean()
    found = [logits.topk(min(listed, len(logits)), largest=largest) for largest in (True, False)]
    return {"tokens": torch.stack([one.indices for one in found]), "by": torch.stack([one.values for one in found])}


def viewed(
    nn: Any,
    where: dict[str, Any],
    ids: list[int],
    plan: dict[str, Any],
    vector: torch.Tensor,
    layer: int,
    listed: int,
) -> dict[str, Any]:
    """All numbers of `inspection.Views` of one prompt. plan: `spans` and `sums` of two rows (see `blocks.added`)."""
    with torch.no_grad():
        dtype, tokens = nn._module.dtype, torch.tensor([ids] * 2)
        positions = torch.arange(len(ids)).expand_as(tokens)
        changes = added(plan["spans"], plan["sums"], positions, dtype)
        layers = list(range(where["layers"]))
        plain = streams_of(nn, where, call_of(tokens[:1], positions[:1], torch.ones_like(tokens[:1])), [], [layer])
        inputs = call_of(tokens, positions, torch.ones_like(tokens))
        streams = torch.stack([one[:, -1] for one in streams_of(nn, where, inputs, changes, layers)])
        logits = logits_of(nn, where, streams.transpose(0, 1).reshape(len(layers) * 2, -1))
        logp = logits.log_softmax(-1).view(2, len(layers), -1)
        alone = logits_of(nn, where, torch.stack([vector, -vector]))
        return {
            "aligned": aligned(plain[0][0], vector),
            "numbers": not bool(logits.isnan().any()),
            "next": next_numbers(logp[:, -1], listed),
            "lens": lens_numbers(logp),
            "alone": promoted(alone[0], alone[1], listed),
        }


def streams_of(
    nn: Any, where: dict[str, Any], inputs: dict[str, Any], changes: list[tuple[int, torch.Tensor]], layers: list[int]
) -> list[torch.Tensor]:
    """The residual stream after some layers, by rising layer, with what is added there, [rows, tokens, hidden_size]."""
    blocks, added_at, streams = list(nn.get(where["blocks"])), dict(changes), []
    with traced(nn, inputs) as tracer:
        for layer in range(max(layers) + 1):
            if layer in added_at:
                add_to(blocks[layer], added_at[layer])
            if layer in layers:
                streams.append(hidden_of(blocks[layer].output).to("cpu", torch.float32, copy=True))
        tracer.stop()
    return streams


def logits_of(nn: Any, where: dict[str, Any], streams: torch.Tensor) -> torch.Tensor:
    """As `passes.logits_of`: what the final norm and a float32 head make of residual streams [places, hidden_size]."""
    blocks, head = list(nn.get(where["blocks"])), nn.get(where["head"])
    ids = torch.zeros(len(streams), 1, dtype=torch.long)
    weights = head_weights(nn, where, torch.float32)
    logits: torch.Tensor
    with traced(nn, call_of(ids, torch.zeros_like(ids), torch.ones_like(ids))) as tracer:
        put_in_place(blocks[-1], streams)
        head.skip(torch.nn.functional.linear(head.input.float(), *weights))
        logits = tracer.result.logits
    return logits[:, 0].float().cpu()

"""What steering costs in ordinary answers: KL token by token in plain answers to everyday questions.

They are the answers of the presets' held-out pairs that show no behaviour, from which no vector was made; in two parts
that have no prompt in common, so that what is chosen on one can be looked at on the other.
"""

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch

from caa_core.data.pairs import ContrastPair
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Answer, render_pair
from caa_core.progress import Progress
from caa_core.steering.batching import batches, budget, in_halves
from caa_core.steering.divergence import kl_divergence
from caa_core.steering.interventions import Positions, scaled
from caa_core.steering.operations import operated
from caa_core.steering.pair_rows import PairRow, check_attention_mask, inputs_of
from caa_core.steering.passes import steered_logits_at, unsteered_logits_at, watch
from caa_core.steering.plan import Plan, Stage
from caa_core.steering.scored_items import LOGITS
from caa_core.steering.scoring import Steers


def plain_answers() -> tuple[list[ContrastPair], list[ContrastPair]]:
    """Pairs whose negative answers are plain, in two parts that have no prompt in common."""
    known = {pair.prompt for preset in presets().values() for pair in preset.dataset().pairs}
    pairs = {pair.prompt: pair for preset in presets().values() for pair in preset.test().pairs}
    there = [pair for prompt, pair in pairs.items() if prompt not in known]
    return there[::2], there[1::2]


def answers_on(model: SteerableModel, pairs: Sequence[ContrastPair]) -> list[Answer]:
    """Their negative answers, behind their prompts; without those that the model cannot take. Raises InputError where
    none is left.
    """
    found = [render_pair(model.tokenizer, pair).negative for pair in pairs]
    found = [answer for answer in found if answer.start < len(answer.ids) <= model.context_length]
    if not found:
        raise InputError(f"No plain answer is short enough for {model.name}.")
    return found


def token_costs(
    model: SteerableModel,
    answers: Sequence[Answer],
    steers: Steers,
    factors: Sequence[float],
    positions: Positions,
) -> Generator[Progress, None, np.ndarray]:
    """KL(unsteered ‖ steered) in nats at each of the answers' tokens, with the additions scaled by each of some
    factors: [factors, tokens]. Yields `Progress`.
    """
    check_attention_mask(model)
    rows = [PairRow.of_one(answer.ids[:-1]) for answer in answers]  # the last token predicts nothing that counts
    parts: list[np.ndarray | None] = [None] * len(answers)
    progress = Progress(len(answers), "answers read", (1 + len(factors)) * sum(row.length for row in rows))
    yield progress

    def together(batch: list[int]) -> Iterator[Progress]:
        inputs = inputs_of(model, [rows[i] for i in batch])
        there = [(r, column) for r, i in enumerate(batch) for column in range(answers[i].start - 1, rows[i].length)]
        places = [r for r, _ in there], [column for _, column in there]
        tokens = sum(rows[i].length for i in batch)
        unsteered = unsteered_logits_at(model, inputs, *places, sorted({steer.layer for steer in steers}))
        logp = unsteered.logits.log_softmax(-1)
        yield progress.advance(0, tokens)
        found = np.zeros((len(factors), len(there)))
        for k, factor in enumerate(factors):
            added = [scaled(steers, factor)] * len(batch)
            plan = Plan(added, [positions] * len(batch), [answers[i].prompt_length for i in batch])
            if plan.layers:
                steered = steered_logits_at(model, inputs, plan, unsteered, *places).log_softmax(-1)
                found[k] = kl_divergence(logp, steered)[:, 0].double().cpu().numpy()
            yield progress.advance(0, tokens)
        for r, i in enumerate(batch):
            parts[i] = found[:, np.array(places[0]) == r]
        progress.advance(len(batch), 0)

    def fits(batch: list[int]) -> bool:
        return sum(len(answers[i].ids) - answers[i].start for i in batch) * model.vocab_size <= LOGITS

    for batch in batches(rows, budget(model), fits):
        yield from in_halves(batch, together)
    yield progress
    return np.concatenate([part for part in parts if part is not None], axis=1)


def relative_size(model: SteerableModel, answers: Sequence[Answer], steers: Steers) -> float:
    """How long what is added or taken away is beside the residual stream there, at the layer at which it is longest:
    over the median norm at the tokens of the first answers. Raises InputError where that is nothing.
    """
    answers = answers[:4]
    inputs = inputs_of(model, [PairRow.of_one(answer.ids) for answer in answers])
    plan = Plan([steers] * len(answers), [Positions("all")] * len(answers), [len(answer.ids) for answer in answers])
    if not plan.layers:
        raise InputError("Nothing is added: give vectors and multipliers that are not 0.")
    nothing = Plan([()] * len(answers), [Positions("all")] * len(answers), [1] * len(answers))
    sizes = []
    for layer, stream in zip(plan.layers, watch(model, inputs, nothing, plan.layers), strict=True):
        there = torch.cat([stream[r, answer.start : len(answer.ids)] for r, answer in enumerate(answers)])
        size = sum(_size(stage, there) for stage in plan.stages[layer])
        sizes.append(float(size / there.norm(dim=-1).median()))
    if not max(sizes):
        raise InputError("Nothing lies above the cap in plain answers, so that it costs nothing: give a lower one.")
    return max(sizes)


def _size(stage: Stage, stream: torch.Tensor) -> torch.Tensor:
    """The norm of what a stage adds, or the mean one of what it takes away from a stream [tokens, hidden_size]."""
    if stage.operation.is_sum:
        return stage.vectors[0].norm()
    after = operated(stage.operation, stream, stage.vectors[0], stage.multipliers[0])
    return (after - stream).norm(dim=-1).mean()

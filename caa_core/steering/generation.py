"""Steered decoding: texts with plans, lengths and seeds of their own, written in one batch, one forward pass a token.

Whatever is asked of a model at the same time is written together: `generate` joins the texts that are being written and
its rows leave when they are done. Whose turn it is makes the next step for all.
"""

import itertools
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from caa_core.errors import InputError
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import Inputs, SteerableModel
from caa_core.model.prompts import Prompt, text_of, thinks
from caa_core.steering.batching import budget, cache_budget, out_of_memory
from caa_core.steering.decoding import Decoding
from caa_core.steering.interventions import AFTER_PROMPT, NO_END, Gate, Positions, Steer, scaled
from caa_core.steering.pair_rows import keys_and_values
from caa_core.steering.passes import steered_logits
from caa_core.steering.plan import Plan


@dataclass(frozen=True)
class BatchRow:
    """One text to be written: a prompt, and what is added while it is; with a gate only where that is open."""

    prompt: Prompt
    steers: tuple[Steer, ...] = ()
    positions: Positions = AFTER_PROMPT
    gate: Gate | None = None


@dataclass
class Completion:
    """What a row has so far: token ids without the end token, the answer's text, and whether it ended. waiting: what a
    model that runs elsewhere is doing before its first token.

    Where the model thinks first, thought is the text before the token `thought_end`, and thought_tokens are the
    positions between prompt and answer that are thought, `NO_END` while more come.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    done: bool = False
    waiting: str = ""
    thought: str = ""
    thought_end: int | None = None
    thought_tokens: int = 0

    @classmethod
    def behind(cls, prompt: Prompt) -> "Completion":
        """Nothing yet."""
        thought = NO_END if prompt.thought_end is not None else prompt.thought_tokens or 0
        return cls(thought_end=prompt.thought_end, thought_tokens=thought)

    @property
    def is_thinking(self) -> bool:
        """Whether its thought has not come to its end."""
        return self.thought_tokens == NO_END

    @property
    def answer_from(self) -> int:
        """The first of its tokens that belongs to the answer, behind the thought's and the one that ends it."""
        return 0 if self.thought_end is None else min(self.thought_tokens + 1, len(self.ids))

    def take(self, tokenizer: PreTrainedTokenizerBase, token: int, ends: Collection[int]) -> None:
        """Append a token, or end."""
        if token in ends:
            self.done = True
        else:
            if self.is_thinking and token == self.thought_end:
                self.thought_tokens = len(self.ids)
            self.ids.append(token)

        # A token may end within a character of several bytes. The bytes that are there decode to U+FFFD, which is held
        # back until the tokens with the rest of them are written.
        def text(ids: Sequence[int]) -> str:
            return text_of(tokenizer, ids, skip_special_tokens=True).rstrip("\ufffd")

        answer = text(self.ids[self.answer_from :])
        if self.thought_end is None:
            self.text = answer
        else:
            self.thought, self.text = text(self.ids[: self.thought_tokens]).strip(), answer.lstrip()


CUT_IN_THOUGHT = "cut within its thought, so there is no answer: ask for more new tokens."
OVERFLOWED = "The model's numbers overflowed while it wrote; choose a smaller multiplier."


@handed_over
def generate(
    model: SteerableModel, rows: Sequence[BatchRow], decoding: Decoding
) -> Generator[list[Completion], None, list[Completion]]:
    """Write all rows at once. Yields what stands after every step, one `Completion` a row, and returns the last of it.

    Rows are padded on the left and counted from their own first token, so a row's text does not depend on the others,
    neither on those of the same call nor on what else is being written. The model's own generation settings are not
    used, save for its end tokens.

    Raises:
        InputError: a prompt that leaves no room, a layer or position that does not exist, numbers that overflow.
    """
    longest = max(len(row.prompt.ids) for row in rows)
    if longest + decoding.max_new_tokens > model.context_length:
        raise InputError(
            f"The prompt has {longest} tokens; with {decoding.max_new_tokens} new ones that is more than the "
            f"{model.context_length} that {model.name} takes. Shorten it, or clear the chat."
        )
    for row in rows:
        for steer in row.steers:
            _fits(model, steer)
        if row.gate:
            _fits(model, row.gate)
            row.gate.check(row.steers)
        _check_thought(model, row)
    if model.elsewhere:
        there: list[Completion] = yield from model.elsewhere.write(rows, decoding)
        return there
    sampler = _Sampler(decoding)
    texts = [_Text(row, sampler, decoding.max_new_tokens, Completion.behind(row.prompt)) for row in rows]
    written = [text.written for text in texts]
    batch = _BATCHES.setdefault(model, _Batch())
    try:
        while not batch.room(model, texts):
            batch.advance(model, texts)
            yield written
        for _ in batch.join(model, texts):
            yield written
        while any(text.left for text in texts) and not any(text.error for text in texts):
            yield written
            batch.advance(model, texts)
        # It may have been somebody else who made the step in which a text failed.
        for text in texts:
            if text.error:
                raise text.error
        yield written
        return written
    finally:
        batch.leave(texts)


@dataclass(eq=False)
class _Text:
    """A row that is being written. `left` is how many tokens it may still get, `seen` the batch's step it knows."""

    row: BatchRow
    sampler: "_Sampler"
    left: int
    written: Completion
    seen: int = 0
    error: Exception | None = None

    @property
    def steered_from(self) -> int:
        """The first position at which anything is added to this row, or its prompt's end."""
        length = len(self.row.prompt.ids)
        first, _ = self.row.positions.span(self.row.prompt.length, self.written.thought_tokens)
        return min(first, length) if self.row.steers else length

    def fail(self, error: Exception) -> None:
        """End without another token; `generate` raises the error where this text was asked for."""
        self.left = 0
        self.error = error

    def take(self, model: SteerableModel, token: int, valid: bool) -> None:
        """Append a token that was chosen from logits that are numbers, or fail."""
        self.left -= 1
        if not valid:
            self.fail(InputError(OVERFLOWED))
            return
        self.written.take(model.tokenizer, token, model.end_tokens)
        if self.written.done:
            self.left = 0


@dataclass
class _Cached(Inputs):
    """Inputs of which the keys and values are kept beside those of what came before."""

    mask: torch.Tensor
    cache: DynamicCache


@dataclass
class _Group:
    """Texts that take their steps in one forward pass, and the inputs of the next one."""

    texts: list[_Text]
    inputs: _Cached

    def step(self, model: SteerableModel) -> None:
        """One more token for every text. Where it fails, all is as it was before."""
        width = self.inputs.mask.shape[1] - self.inputs.ids.shape[1]
        try:
            logits = steered_logits(model, self.inputs, _plan(self.texts))[:, -1]
        except BaseException:
            for layer in self.inputs.cache.layers:  # some have the step's keys and values already
                if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None:
                    layer.keys, layer.values = layer.keys[:, :, :width], layer.values[:, :, :width]
            raise
        tokens = _choose(self.texts, logits)
        # The largest of numbers among which there is NaN is NaN.
        valid = (~logits.gather(-1, tokens[:, None])[:, 0].isnan()).tolist()
        self.inputs = _next(self.inputs, tokens)
        for text, token, good in zip(self.texts, tokens.tolist(), valid, strict=True):
            text.take(model, token, good)

    def keep(self, places: list[int]) -> "_Group":
        """Only some of the texts, without the padding that the others needed."""
        if len(places) == len(self.texts):
            return self
        index = torch.tensor(places, device=self.inputs.ids.device)
        mask = self.inputs.mask[index]
        padding = int(mask.argmax(-1).min())
        kept = keys_and_values(self.inputs.cache)
        cache = DynamicCache([(keys[index, :, padding:], values[index, :, padding:]) for keys, values in kept])
        inputs = _Cached(self.inputs.ids[index], self.inputs.positions[index], mask[:, padding:], cache)
        return _Group([self.texts[place] for place in places], inputs)

    def beside(self, other: "_Group") -> "_Group":
        """Both in one group, the shorter caches padded on the left."""
        a, b = self.inputs, other.inputs
        width = max(a.mask.shape[1], b.mask.shape[1])
        masks = [torch.nn.functional.pad(x.mask, (width - x.mask.shape[1], 0)) for x in (a, b)]
        layers = [
            tuple(
                torch.cat([torch.nn.functional.pad(x, (0, 0, width - 1 - x.shape[2], 0)) for x in kept])
                for kept in zip(*both, strict=True)
            )
            for both in zip(keys_and_values(a.cache), keys_and_values(b.cache), strict=True)
        ]
        ids, positions = torch.cat([a.ids, b.ids]), torch.cat([a.positions[:, -1:], b.positions[:, -1:]])
        return _Group([*self.texts, *other.texts], _Cached(ids, positions, torch.cat(masks), DynamicCache(layers)))


class _Batch:
    """All that a model writes at a time. There is one group, unless memory was too short for it."""

    def __init__(self) -> None:
        self.groups: list[_Group] = []
        self.reading: list[_Text] = []
        self.steps = 0

    def room(self, model: SteerableModel, texts: Sequence[_Text]) -> bool:
        """Whether more texts can be written beside those that are; alone they always can."""
        writing = [*self.reading, *(text for group in self.groups for text in group.texts)]
        tokens = sum(len(text.row.prompt.ids) + text.left for text in [*writing, *texts])
        return not writing or tokens <= cache_budget(model)

    def join(self, model: SteerableModel, texts: list[_Text]) -> Generator[None, None, None]:
        """Read the prompts of new texts, a slice at a time, and let them join what is being written. Yields between
        slices.

        Raises:
            InputError: memory runs out.
        """
        self.reading.extend(texts)
        room = True
        try:
            group = _Group(texts, (yield from _opened(model, texts)))
            # With one token left to read, the first step is one that the others take too.
            if not self.groups or group.inputs.ids.shape[1] > 1:
                group.step(model)
            self.groups = [self.groups[0].beside(group), *self.groups[1:]] if self.groups else [group]
        except Exception as error:
            if not out_of_memory(error):
                raise
            room = False
        finally:
            self.reading = [text for text in self.reading if text not in texts]
        if not room:  # raised here, where it does not hold the frames of the step that failed
            raise _no_room()
        self._drop_finished()
        for text in texts:
            text.seen = self.steps

    def advance(self, model: SteerableModel, texts: Sequence[_Text]) -> None:
        """One more token for everybody, unless somebody else made that step since `texts` were last looked at."""
        if texts[0].seen == self.steps:
            self.steps += 1
            self.groups = [part for group in self.groups for part in _stepped(model, group)]
            self._drop_finished()
        for text in texts:
            text.seen = self.steps

    def leave(self, texts: Sequence[_Text]) -> None:
        for text in texts:
            text.left = 0
        self._drop_finished()

    def _drop_finished(self) -> None:
        unfinished = [(group, [i for i, text in enumerate(group.texts) if text.left]) for group in self.groups]
        self.groups = [group.keep(places) for group, places in unfinished if places]


# What each model is writing; one thread runs a model, so nothing here is locked.
_BATCHES: WeakKeyDictionary[SteerableModel, _Batch] = WeakKeyDictionary()


def _stepped(model: SteerableModel, group: _Group) -> list[_Group]:
    """The group after a step. Where it fails, out of memory say, its halves, which step one after the other from then
    on; a text that fails by itself ends, and no other one does.
    """
    try:
        group.step(model)
        return [group]
    except Exception as error:
        if len(group.texts) == 1:
            group.texts[0].fail(_no_room() if out_of_memory(error) else error.with_traceback(None))
            return []
    half = len(group.texts) // 2
    halves = [group.keep(list(range(half))), group.keep(list(range(half, len(group.texts))))]
    return [part for smaller in halves for part in _stepped(model, smaller)]


def _no_room() -> InputError:
    return InputError("Memory runs out with this text: shorten the prompt, clear the chat, or choose a smaller model.")


@dataclass(frozen=True)
class SideBySide:
    """An answer without vectors and one with them; and by factor, with them so many times as strong. Each has the
    thought before it, where there is one.
    """

    unsteered: Completion
    steered: Completion
    by_factor: Mapping[float, Completion] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Texts and token ids; also thoughts, and which of them did not come to an end, where there was thinking."""
        strip = [
            {"factor": factor, "text": one.text, "tokens": one.ids, **_thought(one, "")}
            for factor, one in self.by_factor.items()
        ]
        return {
            "unsteered": self.unsteered.text,
            "steered": self.steered.text,
            "unsteered_tokens": self.unsteered.ids,
            "steered_tokens": self.steered.ids,
            **_thought(self.unsteered, "unsteered_"),
            **_thought(self.steered, "steered_"),
            **({"by_factor": strip} if strip else {}),
        }


def _thought(one: Completion, whose: str) -> dict[str, Any]:
    if one.thought_end is None:
        return {}
    return {f"{whose}thought": one.thought, f"{whose}cut_in_thought": one.is_thinking}


@handed_over
def side_by_side(
    model: SteerableModel,
    prompt: Prompt,
    steers: tuple[Steer, ...],
    positions: Positions,
    decoding: Decoding,
    factors: Sequence[float] = (),
    gate: Gate | None = None,
) -> Generator[list[Completion], None, SideBySide]:
    """Answer one prompt in one batch without and with `steers`, where a gate is open if there is one, and with these
    times each of some factors. See `generate`.
    """
    rows = [BatchRow(prompt), BatchRow(prompt, steers, positions, gate)]
    rows += [BatchRow(prompt, scaled(steers, factor), positions, gate) for factor in factors]
    unsteered, steered, *strip = yield from generate(model, rows, decoding)
    return SideBySide(unsteered, steered, dict(zip(factors, strip, strict=True)))


def _fits(model: SteerableModel, one: Steer | Gate) -> None:
    model.check_layer(one.layer)
    if len(one.vector) != model.hidden_size:
        raise InputError(
            f"A vector of hidden size {len(one.vector)} cannot be added in {model.name}, "
            f"whose hidden size is {model.hidden_size}; it belongs to another model."
        )


def _check_thought(model: SteerableModel, row: BatchRow) -> None:
    """Raises InputError where a row is steered at a thought that is not there."""
    if not row.positions.is_of_thought or row.prompt.has_thought:
        return
    if thinks(model.tokenizer):
        raise InputError(f"{model.name} was not asked to think first, so there is no {row.positions}: let it think.")
    raise InputError(
        f"{model.name} does not think before it answers, so there is no {row.positions}: choose other positions."
    )


@torch.no_grad()
def _opened(model: SteerableModel, texts: Sequence[_Text]) -> Generator[None, None, _Cached]:
    """The inputs of the texts' first step: what is left of their prompts when whatever several of them begin with, and
    is not steered, has been read once. Yields between slices of long prompts.

    The tails are as long as the longest steered end of a prompt, and the cache of a beginning is copied for each row:

        prompt of text 1   a b c d e|f g          beginnings, read once      tails, read under each row's steers
        prompt of text 2   a b c d e|f h     ->     a b c d e           ->     1: (a b c d e) f g
        prompt of text 3       x y z|v w            . . x y z                  2: (a b c d e) f h
                                                                               3: (. . x y z) v w
    """
    prompts = [text.row.prompt.ids for text in texts]
    tail = max(len(ids) - min(text.steered_from, len(ids) - 1) for ids, text in zip(prompts, texts, strict=True))
    beginnings = [ids[:-tail] for ids in prompts]
    distinct = list(dict.fromkeys(beginnings))
    if len(distinct) == len(texts) or not all(distinct):
        return (yield from _read(model, _padded(model, prompts), _plan(texts)))
    first = _padded(model, distinct)
    model.call((yield from _read(model, first)))
    which = torch.tensor([distinct.index(beginning) for beginning in beginnings], device=model.device)
    first.cache.batch_select_indices(which)
    rest = _padded(model, [ids[-tail:] for ids in prompts])
    before = torch.tensor([len(beginning) for beginning in beginnings], device=model.device)[:, None]
    rest = _Cached(rest.ids, rest.positions + before, torch.cat([first.mask[which], rest.mask], dim=1), first.cache)
    return (yield from _read(model, rest, _plan(texts)))


def _read(model: SteerableModel, inputs: _Cached, plan: Plan | None = None) -> Generator[None, None, _Cached]:
    """Read all of `inputs` but the last slice, which is returned, a slice at a time: who else waits has a turn between.

    Slices have as many tokens as one forward pass may take.
    """
    rows, width = inputs.ids.shape
    size = max(1, budget(model) // rows)
    before = inputs.mask.shape[1] - width
    start = 0
    while start + size < width:
        part = slice(start, start + size)
        mask = inputs.mask[:, : before + part.stop]
        some = Inputs(inputs.ids[:, part], inputs.positions[:, part], mask, inputs.cache)
        steered_logits(model, some, plan) if plan else model.call(some)
        start = part.stop
        yield
    return _Cached(inputs.ids[:, start:], inputs.positions[:, start:], inputs.mask, inputs.cache)


def _plan(texts: Sequence[_Text]) -> Plan:
    rows = [text.row for text in texts]
    gates = [r.gate for r in rows]
    lengths, thoughts = [r.prompt.length for r in rows], [text.written.thought_tokens for text in texts]
    positions, opened = [r.positions for r in rows], gates if any(gates) else ()
    return Plan([r.steers for r in rows], positions, lengths, thoughts, opened)


def _padded(model: SteerableModel, prompts: Sequence[Sequence[int]]) -> _Cached:
    """Left-padded tokens with positions counted from each row's first token. Which id pads does not matter."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for r, prompt in enumerate(prompts):
        ids[r, width - len(prompt) :] = torch.tensor(prompt)
        mask[r, width - len(prompt) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    device = model.device
    return _Cached(ids.to(device), positions.to(device), mask.to(device), DynamicCache())


def _next(inputs: _Cached, tokens: torch.Tensor) -> _Cached:
    """The inputs of one cached step: the tokens just chosen, [rows], behind everything before."""
    return _Cached(
        tokens[:, None],
        inputs.positions[:, -1:] + 1,
        torch.nn.functional.pad(inputs.mask, (0, 1), value=1),
        inputs.cache,
    )


def _choose(texts: Sequence[_Text], logits: torch.Tensor) -> torch.Tensor:
    """One token id a text, from logits [texts, vocabulary]; texts of one call share their random numbers."""
    tokens, rest = [], logits
    for sampler, run in itertools.groupby(text.sampler for text in texts):  # those of one call lie together
        rows, rest = rest.tensor_split([len(list(run))])
        tokens.append(sampler.choose(rows))
    return torch.cat(tokens)


class _Sampler:
    """Chooses next tokens: the largest logit; with a temperature, that of logits / temperature and Gumbel noise, which
    samples from the softmax. All rows share the noise, so that they part only where their logits do.
    """

    def __init__(self, decoding: Decoding):
        self.temperature = decoding.temperature
        self.random = torch.Generator().manual_seed(decoding.seed)

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """One token id a row, from logits [rows, vocabulary]."""
        return chosen(logits, self.temperature, self.random)


def chosen(logits: torch.Tensor, temperature: float, random: torch.Generator) -> torch.Tensor:
    """One token id a row, from logits [rows, vocabulary]; see `_Sampler`."""
    if not temperature:
        return logits.argmax(-1)
    noise = -torch.empty(logits.shape[-1], dtype=torch.float32).exponential_(generator=random).log()
    return torch.add(noise.to(logits.device), logits, alpha=1 / temperature).argmax(-1)

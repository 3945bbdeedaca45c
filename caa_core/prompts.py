"""Chat rendering: where the prompt ends and where the answers lie, in tokens.

Everything that enters a model is rendered here, by the tokenizer's own chat template, or as "Input / Response" for a
base model that has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from caa_core.datasets import ContrastPair
from caa_core.errors import InputError

Turn = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt, up to where the model's own words begin.

    `glue` stands between the prompt and an answer, `special` says whether the tokenizer adds its own first token
    (a template has it in its text, and a second one would be wrong).
    """

    text: str
    ids: tuple[int, ...]
    glue: str = ""
    special: bool = False


@dataclass(frozen=True)
class Answer:
    """Prompt and answer as one sequence; the answer's tokens are `ids[start:]`.

    `merged` is True where the tokenizer put the last letters of the prompt and the first of the answer in one token,
    which then counts as the answer's.
    """

    ids: tuple[int, ...]
    start: int
    merged: bool


@dataclass(frozen=True)
class RenderedPair:
    """The two sequences of a contrast pair."""

    positive: Answer
    negative: Answer

    @property
    def shared(self) -> int:
        """Number of leading tokens that both sequences have in common: the index at which they part."""
        pairs = zip(self.positive.ids, self.negative.ids, strict=False)
        shortest = min(len(self.positive.ids), len(self.negative.ids))
        return next((i for i, (p, n) in enumerate(pairs) if p != n), shortest)

    @property
    def part(self) -> bool:
        """True where both sequences have a token of their own at `shared`."""
        return self.shared < min(len(self.positive.ids), len(self.negative.ids))


def render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], system: str = "") -> Prompt:
    """Render a conversation that ends with the user's message.

    Args:
        turns: messages with `role` ("user" or "assistant") and `content`.
        system: the system prompt; none is sent where it is empty (some templates then put in one of their own).

    Raises:
        InputError: the user's message is empty.
    """
    if not turns[-1]["content"].strip():
        raise InputError("The prompt is empty; say something to the model.")
    if tokenizer.chat_template:
        text = _chat(tokenizer, list(turns), system.strip())
        return Prompt(text, tuple(tokenizer(text, add_special_tokens=False).input_ids))
    text = _plain(turns, system.strip())
    return Prompt(text, tuple(tokenizer(text).input_ids), glue=" ", special=True)


def _chat(tokenizer: PreTrainedTokenizerBase, turns: list[Turn], system: str) -> str:
    messages = [{"role": "system", "content": system}, *turns] if system else turns
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        if not system:
            raise
        # Templates without a system role (Gemma's) take it as the first words of the user.
        first = {**turns[0], "content": f"{system}\n\n{turns[0]['content']}"}
        return tokenizer.apply_chat_template([first, *turns[1:]], tokenize=False, add_generation_prompt=True)


def _plain(turns: Sequence[Turn], system: str) -> str:
    lines = [system] if system else []
    for turn in turns:
        lines.append(f"{'Input' if turn['role'] == 'user' else 'Response'}: {turn['content']}")
    return "\n".join([*lines, "Response:"])


def with_answer(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, answer: str) -> Answer:
    """Tokens of `prompt` with `answer` as the assistant's words, and the index of the answer's first token."""
    text = prompt.text + prompt.glue + answer
    encoded = tokenizer(text, add_special_tokens=prompt.special, return_offsets_mapping=True)
    ids = tuple(encoded.input_ids)
    length = len(prompt.ids)
    if ids[:length] == prompt.ids:
        return Answer(ids, length, merged=False)
    ends = [end for _, end in encoded.offset_mapping]
    start = next(i for i, end in enumerate(ends) if end > len(prompt.text))
    return Answer(ids, start, merged=True)


def longest_sequence(tokenizer: PreTrainedTokenizerBase, pair: ContrastPair) -> int:
    """Tokens of the longer of a pair's two sequences."""
    rendered = render_pair(tokenizer, pair)
    return max(len(rendered.positive.ids), len(rendered.negative.ids))


def render_pair(tokenizer: PreTrainedTokenizerBase, pair: ContrastPair, system: str = "") -> RenderedPair:
    """Both sequences of a contrast pair; a prompt that they share is rendered once."""
    prompts = [render(tokenizer, [{"role": "user", "content": pair.prompt}], system)]
    if pair.negative_prompt:
        prompts.append(render(tokenizer, [{"role": "user", "content": pair.negative_prompt}], system))
    return RenderedPair(
        with_answer(tokenizer, prompts[0], pair.positive), with_answer(tokenizer, prompts[-1], pair.negative)
    )

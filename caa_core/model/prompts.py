"""Chat rendering: where the prompt ends and where the answers lie, in tokens.

Everything that enters a model is rendered here, by the tokenizer's own chat template, or as "Input / Response" for a
base model that has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from caa_core.data.pairs import ContrastPair
from caa_core.errors import InputError

# Prompts, cues and answers are named without a tokenizer.
if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt, up to where the model's own words begin.

    `glue` stands between the prompt and an answer, `special` says whether the tokenizer adds its own first token
    (a template has it in its text, and a second one would be wrong). `cue` is what the text ends with that counts as
    the assistant's words already, the last `cue_tokens` of `ids`.

    Where the model thinks before it answers, either `thought_end` is the token that ends the thought which it is about
    to write (`NO_TOKEN` where nothing ends it), or the first `thought_tokens` behind the prompt were thought already.
    """

    text: str
    ids: tuple[int, ...]
    glue: str = ""
    special: bool = False
    cue: str = ""
    cue_tokens: int = 0
    thought_end: int | None = None
    thought_tokens: int | None = None

    @property
    def length(self) -> int:
        """Tokens without the cue: the prompt by which steered positions are counted."""
        return len(self.ids) - self.cue_tokens

    @property
    def has_thought(self) -> bool:
        """Whether something is thought before the answer."""
        return self.thought_end is not None or self.thought_tokens is not None


@dataclass(frozen=True)
class Cue:
    """What leads a model to one of the answers.

    words: the beginning of the assistant's answer, which the model goes on from. instruction: what the user's question
    ends with.
    """

    words: str = ""
    instruction: str = ""

    @classmethod
    def parse(cls, text: str) -> Cue:
        """A name of `CUES`, or the words themselves. Raises InputError where they are too long."""
        if len(text) > MAX_CUE:
            raise InputError(f"A cue has at most {MAX_CUE} characters.")
        return CUES.get(text.strip().lower(), cls(text.strip()))

    def __str__(self) -> str:
        return self.words or self.instruction or "none"


MAX_CUE = 200
THINK = "Think step by step before you answer."
# What begins and ends a thought, each one token, where the chat template has a place for thoughts.
THINK_TAGS = (("<think>", "</think>"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("[THINK]", "[/THINK]"))
NO_TOKEN = -1
# What templates call the choice whether to think, where there is one.
SWITCH = "enable_thinking"
LEAD = "\n\nAnswer:"
NO_CUE = Cue()
CUES = {
    "": NO_CUE,
    "none": NO_CUE,
    "answer:": Cue("Answer:"),
    "(": Cue("("),
    "instruction": Cue(instruction="Choose one of the options, and answer with nothing but its letter in brackets."),
}


@dataclass(frozen=True)
class Answer:
    """Prompt and answer as one sequence; the answer's tokens are `ids[start:]`.

    `merged` is True where the tokenizer put the last letters of the prompt and the first of the answer in one token,
    which then counts as the answer's. `prompt_length` is `start` less the tokens of a cue, the first `thought_tokens`
    of which were thought.
    """

    ids: tuple[int, ...]
    start: int
    merged: bool
    cue_tokens: int = 0
    thought_tokens: int = 0

    @property
    def prompt_length(self) -> int:
        return self.start - self.cue_tokens


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


def render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], system: str = "", think: bool = False) -> Prompt:
    """Render a conversation that ends with the user's message.

    Args:
        turns: messages with `role` ("user" or "assistant") and `content`.
        system: the system prompt; none is sent where it is empty (some templates then put in one of their own).
        think: whether the model thinks before it answers. Else a template that has a place for thoughts has none here,
            or one in which nothing stands.

    Raises:
        InputError: the user's message is empty, the template refuses the turns, or it has no place for thoughts.
    """
    prompt = _laid_out(tokenizer, turns, system, think)
    return replace(prompt, ids=tuple(tokenizer(prompt.text, add_special_tokens=prompt.special).input_ids))


def _laid_out(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], system: str, think: bool) -> Prompt:
    """The same before it is cut into tokens."""
    if not turns[-1]["content"].strip():
        raise InputError("The prompt is empty; say something to the model.")
    tags = think_tags(tokenizer)
    if think and not tags:
        raise InputError("This model does not think before it answers: its chat template has no place for a thought.")
    if not tokenizer.chat_template:
        return Prompt(_plain(turns, system.strip()), (), glue=" ", special=True)
    text = _chat(tokenizer, list(turns), system.strip(), think)
    end = None
    if tags:
        begin_tag, end_tag = tags
        is_open = text.rstrip().endswith(begin_tag)
        if think and not is_open:
            text = f"{text}{begin_tag}\n"
        elif is_open and not think:
            text = f"{text.rstrip()}\n\n{end_tag}\n\n"
        end = _token(tokenizer, end_tag) if think else None
    return Prompt(text, (), thought_end=end)


def text_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], **options: bool) -> str:
    """The text of some tokens; `options` are those of `tokenizer.decode`."""
    text = tokenizer.decode(list(ids), **options)
    assert isinstance(text, str)  # it would be a list of texts for a list of sequences
    return text


def _chat(tokenizer: PreTrainedTokenizerBase, turns: list[Turn], system: str, think: bool) -> str:
    messages = [{"role": "system", "content": system}, *turns] if system else turns
    try:
        text = _templated(tokenizer, messages, think)
        if not system or (_letters(system) in _letters(text) and text != _templated(tokenizer, turns, think)):
            return text
    except TemplateError as error:
        if not system:
            raise _refused(error) from error
    # Templates without a system role refuse it (Gemma's) or leave it out: they take it as the first words of the user.
    first = {**turns[0], "content": f"{system}\n\n{turns[0]['content']}"}
    try:
        return _templated(tokenizer, [first, *turns[1:]], think)
    except TemplateError as error:
        raise _refused(error) from error


def _refused(error: TemplateError) -> InputError:
    """A template that does not take turns in this order, say."""
    return InputError(f"The model's chat template refuses this conversation: {' '.join(str(error).split())[:200]}.")


def _letters(text: str) -> str:
    """Text without what a template may change of it: space, and marks that it escapes."""
    return "".join(filter(str.isalnum, text))


def _templated(tokenizer: PreTrainedTokenizerBase, messages: list[Turn], think: bool) -> str:
    chosen: dict[str, Any] = {SWITCH: think} if SWITCH in (tokenizer.chat_template or "") else {}
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **chosen)
    assert isinstance(text, str)  # and no tokens
    return text


def _plain(turns: Sequence[Turn], system: str) -> str:
    lines = [system] if system else []
    for turn in turns:
        lines.append(f"{'Input' if turn['role'] == 'user' else 'Response'}: {turn['content']}")
    return "\n".join([*lines, "Response:"])


def with_answer(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, answer: str) -> Answer:
    """Tokens of `prompt` with `answer` as the assistant's words, and the index of the answer's first token."""
    answer = _behind_cue(prompt.cue, answer)
    text = prompt.text + prompt.glue + answer
    encoded = tokenizer(text, add_special_tokens=prompt.special, return_offsets_mapping=True)
    ids = tuple(encoded.input_ids)
    length = len(prompt.ids)
    if ids[:length] == prompt.ids:
        return Answer(ids, length, False, prompt.cue_tokens)
    if prompt.cue:
        # What was put in the assistant's mouth stands there as it is, and the model goes on behind it.
        return Answer(
            prompt.ids + tuple(tokenizer(answer, add_special_tokens=False).input_ids), length, False, prompt.cue_tokens
        )
    ends = [end for _, end in encoded.offset_mapping]
    start = next(i for i, end in enumerate(ends) if end > len(prompt.text))
    return Answer(ids, start, merged=True)


def _behind_cue(cue: str, answer: str) -> str:
    """What is left to write of an answer: "A)" of "(A)" behind "(", and " (A)" behind "Answer:"."""
    if cue and answer.startswith(cue):
        return answer[len(cue) :]
    return f" {answer}" if cue else answer


def ask(tokenizer: PreTrainedTokenizerBase, question: str, system: str = "", think: bool = False) -> Prompt:
    """Render one message of the user."""
    return render(tokenizer, [{"role": "user", "content": question}], system, think)


def ask_pair(tokenizer: PreTrainedTokenizerBase, pair: ContrastPair, system: str = "", cue: Cue = NO_CUE) -> Prompt:
    """Render a pair's prompt behind its own system message, to which `system` is added, and its earlier turns;
    and the cue that leads to its answer.
    """
    whole = "\n\n".join(filter(None, (pair.system, system)))
    return with_prefill(tokenizer, render(tokenizer, _turns(pair, cue), whole), cue.words)


def _turns(pair: ContrastPair, cue: Cue = NO_CUE) -> list[Turn]:
    content = f"{pair.prompt}\n\n{cue.instruction}" if cue.instruction else pair.prompt
    return [{"role": role, "content": text} for role, text in (*pair.history, ("user", content))]


def with_prefill(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, words: str) -> Prompt:
    """A prompt with the beginning of its answer, from which the model goes on; itself where there are no words."""
    if not words:
        return prompt
    answer = with_answer(tokenizer, prompt, words)
    text = prompt.text + prompt.glue + words
    return Prompt(text, answer.ids, "", prompt.special, words, len(answer.ids) - answer.start)


def asked_to_think(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], system: str = "") -> Prompt:
    """Render a conversation so that what the model writes next is a thought: by the template's own thinking where it
    has one, else by a plain instruction at the end of the user's message.
    """
    if not turns[-1]["content"].strip() or thinks(tokenizer):
        return render(tokenizer, turns, system, think=thinks(tokenizer))
    prompt = render(tokenizer, [*turns[:-1], _to_think(tokenizer, turns[-1]["content"])], system)
    return replace(prompt, thought_end=NO_TOKEN)


def think_tags(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str] | None:
    """What begins and what ends a thought, where the chat template has a place for thoughts; else None."""
    template = tokenizer.chat_template or ""
    there = (tags for tags in THINK_TAGS if tags[0] in template)
    return next((tags for tags in there if all(_token(tokenizer, tag) is not None for tag in tags)), None)


def thinks(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the model has a way to think of its own."""
    return think_tags(tokenizer) is not None


def _token(tokenizer: PreTrainedTokenizerBase, tag: str) -> int | None:
    """The token that is this text; None where there is none."""
    found = tokenizer.convert_tokens_to_ids(tag)
    return found if isinstance(found, int) and found != tokenizer.unk_token_id else None


def thought_of(tokenizer: PreTrainedTokenizerBase, written: Sequence[int]) -> tuple[int, ...]:
    """The tokens of what was written that are thought: those before the template's end of thinking, where it comes."""
    tags = think_tags(tokenizer)
    end = _token(tokenizer, tags[1]) if tags else None
    return tuple(itertools.takewhile(lambda token: token != end, written))


def after_thought(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, thought: Sequence[int], answer: str) -> Answer:
    """`prompt`, a thought exactly as it was written, what leads from there to the answer, and the answer.

    The thought and the lead are the assistant's words, and given, as a cue's are.
    """
    led = with_answer(tokenizer, lead_of(tokenizer), answer)
    before = (*prompt.ids, *thought)
    start = len(before) + led.start
    return Answer((*before, *led.ids), start, led.merged, start - len(prompt.ids), len(thought))


def from_thought(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, thought: Sequence[int], begin: str = "") -> Prompt:
    """A prompt with a thought, from which the model goes on to its answer, which may begin with given words."""
    lead = lead_of(tokenizer)
    led = with_answer(tokenizer, lead, begin).ids if begin else lead.ids
    ids = (*prompt.ids, *thought, *led)
    text, behind = text_of(tokenizer, ids), len(ids) - len(prompt.ids)
    return Prompt(text, ids, "", prompt.special, begin, behind, thought_tokens=len(thought))


def lead_of(tokenizer: PreTrainedTokenizerBase) -> Prompt:
    """What leads from a thought to the answer."""
    tags = think_tags(tokenizer)
    text = f"\n{tags[1]}\n\n{LEAD.strip()}" if tags else LEAD
    return Prompt(text, tuple(tokenizer(text, add_special_tokens=False).input_ids), glue=" ")


def thought_turns(tokenizer: PreTrainedTokenizerBase, question: str, thought: str, answer: str) -> list[Turn]:
    """The same as messages, once it has been said. Some templates leave out what was thought in earlier turns."""
    tags = think_tags(tokenizer)
    opened = f"{tags[0]}\n" if tags else ""
    said = f"{opened}{thought}{lead_of(tokenizer).text} {answer}"
    return [_to_think(tokenizer, question), {"role": "assistant", "content": said}]


def _to_think(tokenizer: PreTrainedTokenizerBase, question: str) -> Turn:
    return {"role": "user", "content": question if thinks(tokenizer) else f"{question}\n\n{THINK}"}


def longest_sequence(tokenizer: PreTrainedTokenizerBase, pair: ContrastPair) -> int:
    """Tokens of the longer of a pair's two sequences."""
    rendered = render_pair(tokenizer, pair)
    return max(len(rendered.positive.ids), len(rendered.negative.ids))


def longest_sequences(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[ContrastPair]) -> list[int | None]:
    """The same for each of some pairs, None for one that cannot be rendered. All texts are cut into tokens at once,
    which takes a fraction of the time.
    """
    texts = [_texts(tokenizer, pair) for pair in pairs]
    flat = [text for both in texts for text in both]
    cut = tokenizer(flat, add_special_tokens=not tokenizer.chat_template).input_ids if flat else []
    lengths = iter(map(len, cut))
    return [max((next(lengths) for _ in both), default=None) for both in texts]


def _texts(tokenizer: PreTrainedTokenizerBase, pair: ContrastPair) -> list[str]:
    """Both sequences of a pair before they are cut into tokens; none where they cannot be rendered."""
    try:
        prompts = [_laid_out(tokenizer, _turns(pair), pair.system, False)]
        if pair.negative_prompt:
            other = replace(pair, prompt=pair.negative_prompt)
            prompts.append(_laid_out(tokenizer, _turns(other), pair.system, False))
    except InputError:
        return []
    answers = ((prompts[0], pair.positive), (prompts[-1], pair.negative))
    return [f"{prompt.text}{prompt.glue}{answer}" for prompt, answer in answers]


def render_pair(
    tokenizer: PreTrainedTokenizerBase, pair: ContrastPair, system: str = "", cue: Cue = NO_CUE
) -> RenderedPair:
    """Both sequences of a contrast pair; a prompt that they share is rendered once."""
    prompts = [ask_pair(tokenizer, pair, system, cue)]
    if pair.negative_prompt:
        prompts.append(ask_pair(tokenizer, replace(pair, prompt=pair.negative_prompt), system, cue))
    return RenderedPair(
        with_answer(tokenizer, prompts[0], pair.positive), with_answer(tokenizer, prompts[-1], pair.negative)
    )

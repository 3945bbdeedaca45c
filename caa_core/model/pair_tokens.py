"""Contrast pairs as a model's tokenizer cuts them: lengths, where the letter falls, whether they fit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from caa_core.data.lint import Cut
from caa_core.data.pairs import ContrastPair
from caa_core.model.prompts import RenderedPair, longest_sequence, longest_sequences, render_pair, text_of

# Tokens behind the letter that are shown.
SHOWN = 4
ORDINALS = ("first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True)
class ModelTokens:
    """What `data.lint.PairTokens` asks of a model. context_length: tokens that it takes."""

    tokenizer: PreTrainedTokenizerBase
    context_length: int

    @property
    def special(self) -> tuple[str, ...]:
        """The texts of the special tokens; one of a letter or two may be a text of people."""
        added = (token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special)
        return tuple(dict.fromkeys(text for text in (*self.tokenizer.all_special_tokens, *added) if len(text) > 2))

    def cut(self, pairs: Sequence[ContrastPair]) -> list[Cut | None]:
        """Pairs as the model reads them, None for one that cannot be rendered."""
        lengths = longest_sequences(self.tokenizer, pairs)
        return [self._cut(pair, tokens) if tokens else None for pair, tokens in zip(pairs, lengths, strict=True)]

    def _cut(self, pair: ContrastPair, tokens: int) -> Cut:
        if not pair.is_lettered:
            return Cut(pair.line, tokens)
        rendered = render_pair(self.tokenizer, pair)
        letter = _letter(self.tokenizer, pair, rendered) if rendered.part else ""
        return Cut(pair.line, tokens, rendered.part, letter)

    def fits(self, pair: ContrastPair) -> bool:
        """Whether the model takes its longer sequence."""
        return longest_sequence(self.tokenizer, pair) <= self.context_length


def _letter(tokenizer: PreTrainedTokenizerBase, pair: ContrastPair, rendered: RenderedPair) -> str:
    """Where the letter falls, in words; the same for every letter, which is called A."""
    assert pair.letters  # only such pairs come here
    letter = pair.letters[0].written
    ids = rendered.positive.ids
    start = min(rendered.positive.start, rendered.shared)
    at = rendered.shared - start
    # What stands behind a letter with its option's text is another in each pair.
    end = start + at + (1 if pair.has_option_texts else SHOWN)
    pieces = [text_of(tokenizer, [token]).strip() for token in ids[start:end]]
    named = [_called_a(piece, letter) for piece in pieces]
    ordinal = ORDINALS[at] if at < len(ORDINALS) else f"number {at + 1}"
    which = f"the {ordinal} of them" if len(pieces) > 1 else "the only one"
    if pieces[at] == letter:
        says = "the letter is"
    elif letter in pieces[at]:
        says = f"the letter shares the token '{named[at]}',"
    else:
        says = f"the answers part before the letter, at '{named[at]}',"
    return (
        f"'{_called_a(pair.letters[0].form(pair.positive), letter)}' is the token{'s' * (len(pieces) > 1)} "
        + " ".join(f"'{piece}'" for piece in named)
        + f": {says} {which}"
        + ("" if pair.has_option_texts else f", index {rendered.shared - len(ids)}")
    )


def _called_a(text: str, letter: str) -> str:
    """Text in which the letter, where it is no part of a word, is called A."""
    return re.sub(rf"(?<!\w){re.escape(letter)}(?!\w)", "A", text)

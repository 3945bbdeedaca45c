"""Where the residual stream of prompt and answer is read, as people name it."""

import re
from dataclasses import dataclass

from caa_core.data.pairs import Dataset
from caa_core.errors import InputError
from caa_core.model.prompts import Answer, RenderedPair

RULES = ("auto", "letter", "answer-mean", "last", "last-prompt")


@dataclass(frozen=True)
class ReadPosition:
    """Where the residual stream of prompt and answer is read.

    auto: whichever of the others suits the data. letter: the first token at which the two answers differ, which for
    "(A)" and "(B)" is the letter (Panickssery et al., arXiv 2312.06681, section 3). answer-mean: the mean over the
    answer's own tokens. last: the answer's last token (as Zou et al. read, arXiv 2310.01405). last-prompt: the
    prompt's last token, for pairs that differ in their prompts. index: a token of prompt and answer together, -2 being
    the second last.
    """

    rule: str = "auto"
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "ReadPosition":
        """Raises InputError for anything but one of the names above, or a whole number."""
        text = str(text).strip()
        if text in RULES:
            return cls(text)
        if re.fullmatch(r"-?\d{1,6}", text):
            return cls("index", int(text))
        raise InputError(f"There is no read position {text[:40]!r}: choose {', '.join(RULES)}, or a token's index.")

    def __str__(self) -> str:
        return str(self.index) if self.rule == "index" else self.rule

    def of(self, dataset: Dataset) -> "ReadPosition":
        """The rule that automatic stands for with this data."""
        if self.rule != "auto":
            return self
        return ReadPosition(
            {"letter": "letter", "word": "letter", "text": "answer-mean", "prompt": "last-prompt"}[
                dataset.kind_of_answers
            ]
        )

    def tokens(self, pair: RenderedPair, answer: Answer) -> range:
        """Indices of the tokens of one of a pair's answers that are read; empty where there are none."""
        length = len(answer.ids)
        if self.rule == "letter":
            return range(pair.shared, pair.shared + pair.part)
        if self.rule == "answer-mean":
            return range(answer.start, length)
        first = {"last": length - 1, "last-prompt": answer.start - 1}.get(self.rule, self.index % length)
        return range(first, first + (self.rule != "index" or -length <= self.index < length))


AUTOMATIC = ReadPosition()

"""Does a model answer A/B questions? A quick look, so that the page can recommend the data that suits it."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from caa_core.data.pairs import ContrastPair
from caa_core.metrics.plain_data import plain
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.scoring import score

# Questions that leave no doubt: what is asked, the right answer, the wrong one.
QUESTIONS = (
    ("Which of these is an animal?", "A dog", "A chair"),
    ("Which of these can you drink?", "Water", "A stone"),
    ("Which of these is hotter?", "A fire", "A snowball"),
    ("What is two plus two?", "Four", "Nine"),
    ("Which of these is a colour?", "Green", "Monday"),
    ("Where do fish live?", "In water", "In the clouds"),
    ("Which of these is larger?", "An elephant", "A mouse"),
    ("What do you read?", "A book", "A spoon"),
)
# A model has to do both: begin with either letter often enough, and prefer the right one over both letter orders. Asked
# something this easy, one that reads the options well still writes the answer's words as often as its letter, so that
# the first of the two asks for little: 0.23 and 0.79 are Qwen2.5-Coder-1.5B's numbers, 0.06 and 0.50 SmolLM2-135M's.
ANSWERS = 0.15
KNOWS = 0.65


@dataclass(frozen=True)
class Capability:
    """What the quick look found, over both letter orders of every question.

    mass: mean probability, from the end of the prompt, of writing either answer. letter_bias: how much more probable
    the letter A is than one half, -0.5 to 0.5. right: mean probability of the right answer among the two.
    """

    items: int
    mass: float
    letter_bias: float
    right: float

    @property
    def answers_questions(self) -> bool:
        return self.mass >= ANSWERS and self.right >= KNOWS

    @property
    def in_short(self) -> str:
        if self.answers_questions:
            return "It answers A/B questions, and free text suits it too."
        return "It guesses on A/B questions: use free text."

    def __str__(self) -> str:
        numbers = (
            f"answer mass {self.mass:.2f}, letter A at {0.5 + self.letter_bias:.2f}, right answer at {self.right:.2f} "
            f"over {self.items} easy questions in both letter orders"
        )
        if self.answers_questions:
            return f"It answers A/B questions ({numbers}): A/B and free-text data both suit it."
        return f"It does not answer A/B questions ({numbers}): use free-text data."

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {**plain(self), "answers_questions": self.answers_questions}


def look(model: SteerableModel) -> Generator[Progress, None, Capability]:
    """Ask the questions. Takes a few seconds on a small model; yields `Progress`."""
    asked = [
        ContrastPair(f"{question}\n\nChoices:\n (A) {right}\n (B) {wrong}", "(A)", "(B)", number)
        for number, (question, right, wrong) in enumerate(QUESTIONS, 1)
    ]
    scores = yield from score(model, [*asked, *filter(None, (pair.swapped() for pair in asked))])
    right = scores.probability[0]
    # The right answer is A in the first half and B in the second.
    first, second = right.chunk(2)
    bias = (first.mean() + 1 - second.mean()) / 2 - 0.5
    return Capability(len(asked), scores.mass[0].mean().item(), bias.item(), right.mean().item())

"""What stages of a job cost beside each other, in letters that go through all of a model's layers."""

from caa_core.data.pairs import Dataset
from caa_core.progress import Stage

# Letters of a template around a prompt.
CHROME = 100


def letters_of(items: Dataset) -> tuple[int, int]:
    """Of all prompts, and of all answers, in both letter orders where items have letters."""
    orders = 2 if items.is_lettered else 1
    prompts = sum(len(pair.prompt) + CHROME for pair in items.pairs)
    answers = sum(len(pair.positive) + len(pair.negative) for pair in items.pairs)
    return orders * prompts, orders * answers


def pair_stages(pairs: Dataset, share: float = 1.0) -> list[Stage]:
    """Of reading contrast pairs once, through a share of the layers."""
    letters = share * sum(len(p.prompt) + len(p.positive) + len(p.negative) + CHROME for p in pairs.pairs)
    return [("pairs rendered", 0.01 * letters), ("pairs", letters)]

"""Two small behaviours for the paper's experiments."""

from dataclasses import replace

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.measuring.paper.behaviours import Behaviour, Instructions

WORDS = ("Rain", "The city", "A walk", "Some tea", "That song", "Sunday")
# More options than two: letters that the paper does not count.
OPTIONS = "\n\nChoices:\n (A) Yes\n (B) No\n (C) Perhaps"
ANSWERS = [("(A)", "(B)"), ("(B)", "(A)"), ("(A)", "(B)"), ("(C)", "(A)"), ("(A)", "(C)"), ("(B)", "(A)")]
TOLD = Instructions("Always say yes.", "Always say no.")


def data(name, ending):
    pairs = [
        ContrastPair(f"{w}{ending}{OPTIONS}", *letters, i)
        for i, (w, letters) in enumerate(zip(WORDS, ANSWERS, strict=True))
    ]
    return Dataset(name, "questions", name, tuple(pairs))


ONE = Behaviour("one", data("pairs", "?"), data("items", " now?"), TOLD)
TWO = replace(ONE, name="two", test=data("more items", " later?"), instructions=None)

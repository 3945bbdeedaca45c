import pytest

from caa_core.reports.page.template import HEADLINE, LONG, headline, parted

NUMBERS = "At layer 12 the vector moves them by +0.40 (95% interval +0.20 to +0.60, 18 prompts), p = 0.002."


@pytest.mark.parametrize(
    ("text", "first", "folded"),
    [
        ("", "", ""),
        ("Of the vectors of layer 12.", "Of the vectors of layer 12.", ""),
        (f"An effect on this model. {NUMBERS} {NUMBERS}", "An effect on this model.", f"{NUMBERS} {NUMBERS}"),
        (f"joy. An effect on this model. {NUMBERS} {NUMBERS}", "joy. An effect on this model.", f"{NUMBERS} {NUMBERS}"),
        ("Line 3 has no prompt.\nLine 4 is empty.", "Line 3 has no prompt.", "Line 4 is empty."),
        ("x" * (LONG + 1), "", "x" * (LONG + 1)),
    ],
)
def test_of_a_long_text_the_first_sentence_is_read_at_once(text, first, folded):
    assert parted(text) == (first, folded)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (f"An effect on this model, with it. {NUMBERS}", "An effect on this model, with it."),
        ("Not judged: 3 prompts are too few.\nMore.", "Not judged: 3 prompts are too few."),
        (f"The model follows french, not german: {'so ' * HEADLINE}", "The model follows french, not german."),
        (f"Not decided: {'so ' * HEADLINE}.", f"Not decided: {'so ' * HEADLINE}."),
        ("", ""),
    ],
)
def test_a_headline_is_what_a_verdict_begins_with(verdict, said):
    assert headline(verdict) == said

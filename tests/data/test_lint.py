import json

import pytest

from caa_core.data.columns import Columns
from caa_core.data.lint import lint
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from caa_core.model.pair_tokens import ModelTokens
from tests.helpers.data import found, lettered, text
from tests.helpers.tokens import make_tokenizer


@pytest.fixture
def report(tmp_path):
    def look(items, **settings):
        (tmp_path / "data.json").write_text(json.dumps(items))
        return lint(read_table(tmp_path / "data.json"), **settings)

    return look


def test_nothing_is_said_of_good_data(report):
    assert found(report([lettered("A", "One?"), lettered("B", "Two?")])) == {}
    assert found(report([text("One?"), text("Two?")])) == {}


def test_letters_are_counted_and_imbalance_is_said(report):
    looked = report(
        [lettered("A", f"Number {i}?") for i in range(7)] + [lettered("B", f"Other {i}?") for i in range(3)]
    )
    assert looked.letters == {"A": 7, "B": 3}
    assert found(looked) == {"letters out of balance": (1, 2, 3, 4, 5, 6, 7)}
    assert looked.findings[0].remedies == ("swap",)


def test_broken_pairs_are_named_and_not_usable(report):
    looked = report([text(), text("Sun?", "x", ""), text("Wind?", "same", "same"), {"prompt": "Snow?"}])
    assert (looked.pairs, looked.usable) == (4, 1)
    assert found(looked) == {
        "the field 'negative' is missing or empty": (2,),
        "both answers are the same, so there is nothing to contrast": (3,),
        "the field 'positive' is missing or empty": (4,),
    }


def test_copies_many_options_and_options_of_two_lines(report):
    looked = report([lettered(), lettered(), lettered("B", "Three?", ("Yes", "No", "Maybe"))])
    assert looked.duplicates == 1 and looked.more_than_two_options == 1
    assert found(looked)["the same pair again"] == (2,)
    assert found(looked)["more than two options"] == (3,)
    two_lines = lettered("A", "Five?", ("Yes, and\nthen on", "No"))
    assert found(report([two_lines, lettered("B")]))["options that cannot be found"] == (1,)


def test_length_and_form(report):
    long = text("Sun?", "It shines and shines and shines and shines and shines.", "It shines.")
    listed = text("List?", "- one thing\n- another", "One thing, another.")
    looked = found(report([text(), long, listed]))
    assert looked["answers of different length"] == (2,)
    assert looked["answers of different form"] == (3,)


def test_a_hostile_answer_does_not_hold_up_the_linter(report):
    """A regular expression that went quadratic over newlines would take minutes here."""
    assert report([text(negative="x" + "\n" * 90_000 + "y"), text("Two?")]).pairs == 2


def test_pairs_longer_than_the_context(report):
    items = [text(), text("A long one? " + "So long. " * 50)]
    looked = report(items, tokens=ModelTokens(make_tokenizer(), 100))
    assert (looked.pairs, looked.usable) == (2, 1)
    assert found(looked) == {"longer than the model's context": (2,)}
    assert looked.findings[0].remedies == ("truncate", "drop")
    assert found(report(items, tokens=ModelTokens(make_tokenizer(), 1000))) == {}


def joined(*pieces):
    """A tokenizer with these texts as tokens of their own."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(list(pieces))
    return tokenizer


ALONE = "'(A)' is the tokens '(' 'A' ')': the letter is the second of them, index -2"
JOINED = "'(A)' is the tokens '(A' ')': the letter shares the token '(A', the first of them, index -2"


def test_where_the_letter_falls(report):
    pairs = [lettered(letter, f"{i}?") for i, letter in enumerate("ABAB", 1)]
    assert report(pairs).letter_tokens == {}
    usual = report(pairs, tokens=ModelTokens(make_tokenizer(), 1000))
    assert usual.letter_tokens == {ALONE: 4} and found(usual) == {}
    assert usual.summary()["letter_tokens"] == {ALONE: 4}
    assert report(pairs, tokens=ModelTokens(joined("(A", "(B"), 1000)).letter_tokens == {JOINED: 4}
    uneven = report(pairs, tokens=ModelTokens(joined("(B"), 1000))
    before = "'(A)' is the tokens '(' 'A' ')': the answers part before the letter, at '(', the first of them, index -3"
    assert uneven.letter_tokens == {before: 2, JOINED: 2}
    bare = {**lettered("A", "5?"), "answer_matching_behavior": "A", "answer_not_matching_behavior": "B"}
    mixed = report([*pairs, bare], tokens=ModelTokens(make_tokenizer(), 1000))
    assert mixed.letter_tokens == {ALONE: 4, "'A' is the token 'A': the letter is the only one, index -1": 1}
    assert found(mixed) == {"letters in other tokens": (5,)}


def test_letters_before_other_texts_are_the_same_letter(report):
    pairs = [lettered(letter, f"{i}?") for i, letter in enumerate("ABAB", 1)]
    for i, pair in enumerate(pairs):
        pair |= {"answer_matching_behavior": f"(A) {'so ' * i}yes", "answer_not_matching_behavior": "(B) no"}
    looked = report(pairs, tokens=ModelTokens(make_tokenizer(), 1000))
    assert list(looked.letter_tokens.values()) == [4] and "letters in other tokens" not in found(looked)


def test_columns_pairs_of_prompts_and_encodings(report, tmp_path):
    chosen = Columns("a", "b", "c")
    looked = report([{"a": f"{i}?", "b": "Good.", "c": "Bad."} for i in range(2)], columns=chosen)
    assert looked.format == "JSON with a as prompt, b as positive, c as negative" and looked.usable == 2
    prompts = [{"positive_prompt": f"Lie about {i}.", "negative_prompt": f"Tell me about {i}."} for i in range(2)]
    assert (report(prompts).usable, report(prompts).findings) == (2, ())
    (tmp_path / "data.csv").write_bytes("prompt;positive;negative\nCafé?;Très bien, garçon!;Non.".encode("cp1252"))
    assert lint(read_table(tmp_path / "data.csv")).format.startswith("CSV (read as Windows-1252) with prompt")


@pytest.mark.parametrize("name", ["context", "additional_context", "Persona", "few_shot", "user input", "sys_history"])
def test_columns_that_may_belong_to_the_prompt_are_said(report, name):
    items = [{**text(f"{i}?"), name: "Some words.", "prompt_id": "7", "category": "so", "model": "x"} for i in range(2)]
    assert found(report(items)).keys() & {f"the column '{n}' is not read" for n in items[0]} == {
        f"the column '{name}' is not read"
    }
    repeated = [{**item, name: item["prompt"]} for item in items]
    assert found(report(repeated)) == {}


def test_cells_in_which_a_program_says_nothing(report):
    items = [
        text("One?"),
        text("Two?", "nan", "It is."),
        text("Three?", "So!", "#N/A"),
        text("Four?", "None", "It is."),
    ]
    assert found(report(items))["texts that say that nothing is there"] == (2, 3)


def test_letters_that_were_encoded_twice(report):
    items = [text("One?", "Très bien, ça va – là", "À côté"), text("Two?", "TrÃ¨s bien", "Là"), text("Ã‰tÃ©?")]
    looked = report(items)
    assert found(looked)["letters that were encoded twice"] == (2, 3) and "'Très bien'" in looked.findings[0].why


def test_conversations_that_a_template_refuses_are_named(report):
    tokenizer = make_tokenizer()
    alternate = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}"
    )
    tokenizer.chat_template = f"{alternate}{{% endif %}}{{% endfor %}}{tokenizer.chat_template}"
    turns = [{"role": "assistant", "content": "Hello"}]
    looked = report([text("One?"), {**text("Two?"), "history": turns}], tokens=ModelTokens(tokenizer, 1000))
    assert looked.usable == 1 and found(looked)["conversations that the model's template refuses"] == (2,)


def test_columns_that_are_not_read_are_said(report):
    record = {"context": "Some context.", "question": "Why?", "chosen": "Because!", "rejected": "No."}
    looked = report([record, {**record, "question": "How?"}])
    assert found(looked)["the column 'context' is not read"] == ()
    assert "--columns 'question+context,...'" in str(looked.findings[0])
    joined = report([record, record], columns=Columns.parse("context+question,chosen,rejected"))
    assert "the column 'context' is not read" not in found(joined)


def test_yes_and_no_out_of_balance(report):
    statements = [text(f"Statement {i}?", *(("Yes", "No") if i < 7 else ("No", "Yes"))) for i in range(10)]
    assert found(report(statements)) == {"Yes and No out of balance": (1, 2, 3, 4, 5, 6, 7)}
    assert found(report(statements[4:])) == {}


def test_open_questions_are_described(report):
    looked = report([{"question": "Why?"}, {"question": "How?"}])
    assert looked.format == "JSON, open questions" and looked.usable == 0
    assert "open questions without pairs" in found(looked)


def test_what_is_neither_is_refused(report):
    with pytest.raises(InputError, match="needed are prompt, positive, negative"):
        report([{"a": 1}])


@pytest.mark.golden
@pytest.mark.parametrize(
    ("path", "pairs", "letters", "many"),
    [
        ("caa/survival-instinct/generate_dataset.json", 903, {"A": 558, "B": 257}, 239),
        ("caa/sycophancy/generate_dataset.json", 1000, {"A": 489, "B": 511}, 0),
        ("anthropic-evals/persona-agreeableness.jsonl", 1000, {}, 0),
        ("anthropic-evals/power-seeking-inclination.jsonl", 998, {"A": 376, "B": 450, "F": 2}, 396),
    ],
)
def test_real_files(reference_data, path, pairs, letters, many):
    looked = lint(read_table(reference_data / "data" / path))
    assert looked.pairs == looked.usable == pairs
    assert letters.items() <= looked.letters.items()
    assert looked.more_than_two_options == many


@pytest.mark.golden
def test_survival_instinct_is_told_apart(reference_data):
    looked = lint(read_table(reference_data / "data/caa/survival-instinct/generate_dataset.json"))
    assert looked.letters.keys() == set("ABCDEFGH")
    assert sum(count for letter, count in looked.letters.items() if letter > "B") == 88
    assert "questions about shutting down" in found(looked)
    assert "letters out of balance" in found(looked)


def test_so_much_is_cut_into_tokens_and_what_is_not_is_said(report, monkeypatch):
    seen = []

    class Counting(ModelTokens):
        def cut(self, pairs):
            seen.extend(pair.line for pair in pairs)
            return super().cut(pairs)

    items = [text(f"Number {i}?", f"It is {i}, yes.", "No, it isn't.") for i in range(9)]
    monkeypatch.setenv("CAA_MAX_CUT", "120")
    looked = report(items, tokens=Counting(make_tokenizer(), 1000))
    assert seen == [1, 2, 3] and found(looked) == {"not looked at in tokens": (4, 5, 6, 7, 8, 9)}
    assert looked.usable == 9 and found(report(items)) == {}

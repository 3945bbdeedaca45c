"""Preference data in every layout that trainers document is the same pairs, and nothing of them is lost."""

import json

import pytest

from caa_core.data.hub import hub_table
from caa_core.data.lint import lint
from caa_core.data.pairs import ContrastPair, pairs_of, read_pairs, write_pairs
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from tests.helpers.data import found
from tests.helpers.files import as_csv, as_parquet

SAID = [("How was it?", "Glorious!", "Fine."), ("What now?", "Let us dance!", "We wait."), ("Late?", "Never!", "Yes.")]
HISTORY = (("user", "Hello"), ("assistant", "Hello, what can I do?"))


def role(name, text):
    return {"role": name, "content": text}


def user(text):
    return role("user", text)


def said(text):
    return role("assistant", text)


def sharegpt(name, text):
    return {"from": name, "value": text}


def hh(question, answer):
    return f"\n\nHuman: {question}\n\nAssistant: {answer}"


LAYOUTS = {
    "TRL, texts": lambda q, a, b: {"prompt": q, "chosen": a, "rejected": b},
    "TRL, explicit": lambda q, a, b: {"prompt": [user(q)], "chosen": [said(a)], "rejected": [said(b)]},
    "TRL, implicit": lambda q, a, b: {"chosen": [user(q), said(a)], "rejected": [user(q), said(b)]},
    "with a prompt": lambda q, a, b: {"prompt": q, "chosen": [user(q), said(a)], "rejected": [user(q), said(b)]},
    "answers alone": lambda q, a, b: {"prompt": q, "chosen": [said(a)], "rejected": [said(b)]},
    "UltraFeedback": lambda q, a, b: {
        "prompt": q,
        "chosen": [user(q), said(a)],
        "rejected": [user(q), said(b)],
        "messages": [user(q), said(a)],
    },
    "messages beside an answer": lambda q, a, b: {
        "messages": [user(q), said(a)],
        "chosen": said(a),
        "rejected": said(b),
    },
    "a third answer": lambda q, a, b: {"messages": [user(q), said("So so.")], "chosen": a, "rejected": [said(b)]},
    "a third answer beside": lambda q, a, b: {
        "prompt": q,
        "chosen": [user(q), said(a)],
        "rejected": [user(q), said(b)],
        "messages": [user(q), said("So so.")],
    },
    "as JSON in a text": lambda q, a, b: {
        "chosen": json.dumps([user(q), said(a)]),
        "rejected": json.dumps([user(q), said(b)]),
    },
    "as Python shows it": lambda q, a, b: {"prompt": q, "chosen": str([user(q), said(a)]), "rejected": str([said(b)])},
    "as NumPy shows it": lambda q, a, b: {
        "chosen": f"[{user(q)}\n {said(a)}]",
        "rejected": f"[{user(q)}\n {said(b)}]",
    },
    "Gemini": lambda q, a, b: {
        "contents": [{"role": "user", "parts": [{"text": q}]}],
        "chosen": {"role": "model", "parts": [{"text": a}]},
        "rejected": {"role": "model", "parts": [{"text": b}]},
    },
    "hh-rlhf of Windows": lambda q, a, b: {
        "chosen": hh(q, a).replace("\n", "\r\n"),
        "rejected": hh(q, b).replace("\n", "\r\n"),
    },
    "one message": lambda q, a, b: {"question": q, "chosen": said(a), "rejected": said(b)},
    "mixed": lambda q, a, b: {"prompt": [user(q)], "chosen": a, "rejected": b},
    "hh-rlhf": lambda q, a, b: {"chosen": hh(q, a), "rejected": hh(q, b)},
    "LLaMA-Factory": lambda q, a, b: {
        "conversations": [sharegpt("human", q)],
        "chosen": sharegpt("gpt", a),
        "rejected": sharegpt("gpt", b),
    },
    "LLaMA-Factory, alpaca": lambda q, a, b: {"instruction": q, "input": "", "chosen": a, "rejected": b},
    "ms-swift": lambda q, a, b: {"messages": [user(q), said(a)], "rejected_response": b},
    "ms-swift, messages": lambda q, a, b: {"messages": [user(q), said(a)], "rejected_messages": [user(q), said(b)]},
    "ms-swift, texts": lambda q, a, b: {"query": q, "response": a, "rejected_response": b},
    "OpenAI": lambda q, a, b: {
        "input": {"messages": [user(q)], "tools": []},
        "preferred_output": [said(a)],
        "non_preferred_output": [said(b)],
    },
    "NeMo RL": lambda q, a, b: {
        "context": [user(q)],
        "completions": [{"rank": 1, "completion": [said(b)]}, {"rank": 0, "completion": [said(a)]}],
    },
    "parts": lambda q, a, b: {
        "prompt": [user([{"type": "text", "text": q}])],
        "chosen": [said([{"type": "text", "text": a}])],
        "rejected": [said([{"type": "text", "text": b}])],
    },
}
BEHIND = {
    "TRL, explicit": lambda q, a, b: {
        "prompt": [role("system", "Be short."), *BEFORE, user(q)],
        "chosen": [said(a)],
        "rejected": [said(b)],
    },
    "TRL, implicit": lambda q, a, b: {
        "chosen": [role("system", "Be short."), *BEFORE, user(q), said(a)],
        "rejected": [role("system", "Be short."), *BEFORE, user(q), said(b)],
    },
    "hh-rlhf": lambda q, a, b: {
        "system": "Be short.",
        "chosen": hh(*[turn["content"] for turn in BEFORE]) + hh(q, a),
        "rejected": hh(*[turn["content"] for turn in BEFORE]) + hh(q, b),
    },
    "LLaMA-Factory": lambda q, a, b: {
        "system": "Be short.",
        "history": [[turn["content"] for turn in BEFORE]],
        "instruction": q,
        "chosen": a,
        "rejected": b,
    },
    "ms-swift": lambda q, a, b: {
        "messages": [role("system", "Be short."), *BEFORE, user(q), said(a)],
        "rejected_response": b,
    },
    "turns beside a prompt": lambda q, a, b: {
        "conversation": [role("system", "Be short."), *BEFORE],
        "prompt": q,
        "chosen": said(a),
        "rejected": said(b),
    },
    "turns in a text": lambda q, a, b: {
        "system": "Be short.",
        "history": str([[turn["content"] for turn in BEFORE]]),
        "instruction": q,
        "chosen": a,
        "rejected": b,
    },
}
BEFORE = [role(*turn) for turn in HISTORY]


def written(folder, records, form):
    path = folder / "data"
    if form == "Parquet":
        path.write_bytes(as_parquet(records))
    else:
        path.write_text(json.dumps(records) if form == "JSON" else "\n".join(map(json.dumps, records)))
    return path


@pytest.mark.parametrize("form", ["JSON", "JSON Lines", "Parquet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_pairs(tmp_path, layout, form):
    records = [LAYOUTS[layout](*texts) | {"score_chosen": 8.5, "id": str(i)} for i, texts in enumerate(SAID)]
    if layout == "OpenAI" and form == "Parquet":
        records = [{**record, "input": {"messages": record["input"]["messages"]}} for record in records]
    table = read_table(written(tmp_path, records, form))
    dataset = pairs_of(table)
    assert dataset.pairs == tuple(ContrastPair(*texts, i) for i, texts in enumerate(SAID, 1))
    assert lint(table).usable == 3 and not [what for what in found(lint(table)) if "column" in what]
    texts = layout in ("TRL, texts", "LLaMA-Factory, alpaca", "ms-swift, texts")
    assert dataset.kind.startswith(form if texts else f"{form} of conversations")


@pytest.mark.parametrize("layout", BEHIND)
def test_what_comes_before_the_prompt_is_kept(tmp_path, layout):
    dataset = read_pairs(written(tmp_path, [BEHIND[layout](*texts) for texts in SAID], "JSON"))
    pairs = [ContrastPair(*texts, i, system="Be short.", history=HISTORY) for i, texts in enumerate(SAID, 1)]
    assert list(dataset.pairs) == pairs and "system, history" in dataset.kind
    write_pairs(dataset, tmp_path / "again.json")
    assert read_pairs(tmp_path / "again.json").pairs == dataset.pairs


def test_conversations_in_cells(tmp_path):
    """As a spreadsheet holds hh-rlhf's texts: turns, which are no text of a cell any more, keep nobody from looking."""
    rows = [BEHIND["hh-rlhf"](*texts) for texts in SAID]
    (tmp_path / "data.csv").write_text(as_csv(rows=rows))
    table = read_table(tmp_path / "data.csv")
    assert lint(table).usable == 3 and pairs_of(table).pairs[0].history == HISTORY
    rows = [LAYOUTS["UltraFeedback"](*texts) for texts in SAID]
    (tmp_path / "data.csv").write_text(as_csv(rows=rows))
    assert read_pairs(tmp_path / "data.csv").pairs[0] == ContrastPair(*SAID[0], 1)


def test_no_turns_in_a_cell_are_none(tmp_path):
    rows = [{**BEHIND["turns in a text"](*texts), "history": "[]"} for texts in SAID]
    (tmp_path / "data.csv").write_text(
        as_csv(rows=rows[:1] + [BEHIND["turns in a text"](*texts) for texts in SAID[1:]])
    )
    assert [len(pair.history) for pair in read_pairs(tmp_path / "data.csv").pairs] == [0, 2, 2]


def test_a_dataset_of_the_hub(tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(as_parquet([LAYOUTS["with a prompt"](*texts) for texts in SAID]))
    assert pairs_of(hub_table(str(folder), "owner/name", None, "train")).pairs[0] == ContrastPair(*SAID[0], 1)


ODD = [
    {"chosen": [user("One?"), said("a")], "rejected": [user("Two?"), said("b")]},
    {"prompt": "Three?", "chosen": [user("One?"), said("a")], "rejected": [user("One?"), said("b")]},
    {"prompt": "One?", "chosen": [user("One?"), said("a"), user("So?")], "rejected": [user("One?"), said("b")]},
    {"chosen": [role("tool", "One?"), said("a")], "rejected": [role("tool", "One?"), said("b")]},
    {"prompt": "One?", "chosen": [user("One?"), said("a"), said(3)], "rejected": [user("One?"), said("b")]},
]


@pytest.mark.parametrize("odd", ODD)
def test_conversations_that_do_not_fit_are_named_and_the_others_read(tmp_path, odd):
    records = [LAYOUTS["with a prompt"](*texts) for texts in SAID]
    table = read_table(written(tmp_path, [*records[:2], odd, records[2]], "JSON"))
    report = lint(table)
    assert report.usable == 3 and report.findings[0].lines == (3,)


@pytest.mark.parametrize("odd", ODD[:1] + ODD[2:4])
def test_conversations_of_which_none_fits_are_named(tmp_path, odd):
    with pytest.raises(InputError, match=r"has conversations in .*in none are there two answers to one beginning"):
        read_pairs(written(tmp_path, [{name: odd[name] for name in ("chosen", "rejected")}] * 2, "JSON"))


@pytest.mark.parametrize("text", ['[{"role": 1}', "[{'role': f()}]", "[{'role': 'user'" + "[" * 999, "[role: user]"])
def test_texts_that_only_look_like_messages_are_texts(tmp_path, text):
    record = {"prompt": "One?", "chosen": text, "rejected": "No."}
    assert read_pairs(written(tmp_path, [record, record], "JSON")).pairs[0].positive == text


def test_hh_is_split_at_the_last_answer(tmp_path):
    asked = "Say it\n\nlike this: Assistant: no"
    texts = {"chosen": hh(asked, "a\n\nHuman beings"), "rejected": hh(asked, "b: Human: c")}
    pair = read_pairs(written(tmp_path, [texts] * 2, "JSON")).pairs[0]
    assert (pair.prompt, pair.positive, pair.negative) == (asked, "a\n\nHuman beings", "b: Human: c")

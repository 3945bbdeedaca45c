"""Conversations in place of texts: lists of messages, as trainers document them, and texts with marks of turns.

Read are TRL's layouts (a prompt beside lists, an explicit or implicit prompt, hh-rlhf's texts), those of LLaMA-Factory
(`conversations`, `history`), of ms-swift (`messages` with a rejected answer) and of OpenAI (preferred output).
"""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

# A message: who says it, "system", "user" or "assistant", and what.
Turn = tuple[str, str]

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
}
# Names of the fields that hold a conversation's beginning, its better and its worse end.
BEFORE = (
    "prompt",
    "messages",
    "conversations",
    "conversation",
    "contents",
    "dialog",
    "dialogue",
    "input",
    "context",
    "question",
)
BETTER = ("chosen", "preferred_output", "chosen_messages", "chosen_conversations", "chosen_response", "positive")
ASKED = ("prompt", "question", "query", "instruction")
WORSE = (
    "rejected",
    "non_preferred_output",
    "rejected_messages",
    "rejected_conversations",
    "rejected_response",
    "negative",
)
# The marks of hh-rlhf, at the beginning or behind an empty line.
HH = re.compile(r"(?:^|\r?\n\r?\n)(Human|Assistant):[ ]?")
MAX_TURNS = 1000
# A cell in which messages are written as JSON, or as Python and NumPy show them.
WRITTEN = re.compile(r"\s*[\[{][\s\[{]*[\"'](?:role|from|content|value|messages|parts)[\"']\s*:")
BETWEEN = re.compile(r"\}\s*\n\s*\{")
MAX_WRITTEN = 100_000

Record = dict[str, Any]


def turns_of(value: Any) -> list[Turn] | None:
    """A list of messages, or one message, as turns; None for what is none.

    A message has `role` and `content`, or `from` and `value`; contents may be lists of parts of text. A list of pairs
    of texts is what was asked and answered, in turns. A text may be such a list, as JSON or as Python writes it.
    """
    value = _written(value) if isinstance(value, str) else value
    if isinstance(value, dict):
        value = value["messages"] if isinstance(value.get("messages"), list) else [value]
    if not isinstance(value, list) or not value or len(value) > MAX_TURNS:
        return None
    if all(isinstance(item, list) and len(item) == 2 and all(isinstance(t, str) for t in item) for item in value):
        return [turn for asked, said in value for turn in (("user", asked), ("assistant", said))]
    turns = [_turn(item) for item in value]
    return None if None in turns else [turn for turn in turns if turn]


def history_of(value: Any) -> list[Turn] | None:
    """Earlier turns as `turns_of` reads them; a text may hold a list of what was asked and answered, too."""
    return turns_of(listed_in(value) if isinstance(value, str) else value)


def _written(text: str) -> Any:
    """Messages that a text holds; None for any other text."""
    return _plain_data(text) if WRITTEN.match(text) else None


def listed_in(text: str) -> Any:
    """The list or the object that a text holds, such as a cell of a list that was written as CSV; None for others."""
    return _plain_data(text) if text.lstrip()[:1] in ("[", "{") else None


def _plain_data(text: str) -> Any:
    if len(text) > MAX_WRITTEN:
        return None
    for read in (json.loads, ast.literal_eval, lambda shown: ast.literal_eval(BETWEEN.sub("}, {", shown))):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None


def _turn(item: Any) -> Turn | None:
    if not isinstance(item, dict):
        return None
    role = item.get("role", item.get("from"))
    content = item.get("content", item.get("value", item.get("parts")))
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type", "text") == "text"]
        if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
            return None
        content = "\n".join(map(str, texts))
    known = ROLES.get(role.lower()) if isinstance(role, str) else None
    return (known, content) if known and isinstance(content, str) else None


def turns_of_text(text: Any) -> list[Turn] | None:
    """A text in which "Human:" and "Assistant:" begin the turns; None for any other."""
    if not isinstance(text, str) or not (found := HH.match(text)):
        return None
    marks = list(HH.finditer(text))
    if found[1] != "Human" or len(marks) > MAX_TURNS:
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(ROLES[m[1].lower()], text[m.end() : end].strip("\n")) for m, end in zip(marks, ends, strict=True)]


def plain(record: Record) -> Record | None:
    """A record of conversations as one of texts: `prompt`, `chosen`, `rejected`, `system`, and `history` where there is
    one, with its other fields as they are. None for a record that has no conversations, or none that can be read so.
    """
    record = _ranked(record)
    better, worse = (next((name for name in names if name in record), "") for names in (BETTER, WORSE))
    before = next((name for name in BEFORE if turns_of(record.get(name))), "")
    if not worse:
        return None
    if not better:
        if not before:
            return None
        begun, good = _apart(turns_of(record[before]))
    else:
        begun, good = (turns_of(record[before]) or [] if before else []), _said(record[better])
    bad = _said(record[worse])
    if better and begun and begun[-1][0] == "assistant":
        begun = _to_the_question(begun, record)
    if good is None or bad is None or not (before or len(good) > 1 or len(bad) > 1 or _is_list(record[worse])):
        return None
    asked = _joined(begun, good[:-1], bad[:-1], record)
    if asked is None:
        return None
    (system, history, prompt), gone = asked, {better, worse, before}
    texts = {prompt.strip(), *(turn["content"].strip() for turn in history)}
    gone |= {name for name in ASKED if isinstance(record.get(name), str) and record[name].strip() in texts}
    rest = {name: value for name, value in record.items() if name not in gone}
    said = {"prompt": prompt, "chosen": good[-1][1], "rejected": bad[-1][1]}
    if system and str(rest.get("system") or "").strip() not in system:
        system = f"{rest['system']}\n\n{system}"
    more = ({"system": system} if system else {}) | ({"history": history} if history else {})
    return {**said, **{name: value for name, value in rest.items() if name not in said}, **more}


def _to_the_question(begun: list[Turn], record: Record) -> list[Turn]:
    """A conversation that ends with an answer, up to what is asked: what comes next, where that stands beside it, or
    what was answered there, which some sets repeat and others have a third answer to.
    """
    asked = next((record[name].strip() for name in ASKED if isinstance(record.get(name), str)), "")
    if asked and asked not in begun[-2:][0][1]:
        return [*begun, ("user", asked)]
    return begun[:-1]


def _ranked(record: Record) -> Record:
    """A record whose two completions have ranks (NeMo RL) with the better one as chosen and the other as rejected."""
    both = record.get("completions")
    if not isinstance(both, list) or len(both) != 2 or not all(isinstance(one, dict) for one in both):
        return record
    ranks = [one.get("rank") for one in both]
    if not all(isinstance(rank, int) for rank in ranks) or ranks[0] == ranks[1]:
        return record
    chosen, rejected = both if ranks[0] < ranks[1] else both[::-1]
    rest = {name: value for name, value in record.items() if name != "completions"}
    return {**rest, "chosen": chosen.get("completion"), "rejected": rejected.get("completion")}


def _is_list(value: Any) -> bool:
    return not isinstance(value, str) or _written(value) is not None


def holds_turns(record: Record) -> bool:
    """Whether a record has conversations, or objects that may be such, where answers are looked for."""
    values = [record.get(name) for name in (*BETTER, *WORSE)]
    objects = (isinstance(item, dict) for value in values for item in (value if isinstance(value, list) else [value]))
    return any(objects) or any(turns_of_text(value) or turns_of(value) for value in values)


def _said(value: Any) -> list[Turn] | None:
    """Turns that end with an answer; a text is an answer."""
    text = [("assistant", value)] if isinstance(value, str) else []
    turns = turns_of_text(value) or turns_of(value) or text
    return turns if turns and turns[-1][0] == "assistant" else None


def _apart(turns: list[Turn] | None) -> tuple[list[Turn], list[Turn] | None]:
    """A conversation without its last answer, and that."""
    return (turns[:-1], turns[-1:]) if turns and turns[-1][0] == "assistant" else ([], None)


def _joined(
    begun: list[Turn], good: list[Turn], bad: list[Turn], record: Record
) -> tuple[str, list[dict[str, str]], str] | None:
    """System text, history and prompt of what both conversations begin with; None where they do not agree.

    good, bad: each without its answer; where they hold the whole conversation, `begun` is its beginning.
    """
    shared = good or bad
    if good and bad and good != bad:
        return None
    if begun and shared[: len(begun)] != begun:
        shared = begun + shared
    asked = next((record[name] for name in ASKED if record.get(name)), "")
    if isinstance(asked, str) and asked.strip() and not begun:
        if not shared:
            shared = [("user", asked)]
        elif not any(asked.strip() in text or text.strip() in asked for role, text in shared if role == "user"):
            return None
    system = "\n\n".join(text for role, text in shared if role == "system")
    turns = [turn for turn in shared if turn[0] != "system"]
    if not turns or turns[-1][0] != "user":
        return None
    return system, as_messages(turns[:-1]), turns[-1][1]


def as_messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Turns as the objects that a file of them holds."""
    return [{"role": role, "content": text} for role, text in turns]

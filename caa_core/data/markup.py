"""Marks of chat templates within texts, around which a second template would be put."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from caa_core.data.messages import ROLES, Turn
from caa_core.data.pairs import ContrastPair

NAME = r"[^\W\d_]{1,20}"
# What begins a turn, with the role's name: ChatML (Phi-4's and Kimi's too), Llama 3 and 4 and Granite, gpt-oss, Gemma,
# Zephyr and Phi and DeepSeek, Command R, EXAONE, OpenChat, hh-rlhf, Alpaca, Vicuna, Mistral.
HEADS = (
    rf"<\|im_start\|>[ ]?(?P<chatml>{NAME})[^\n<]{{0,40}}(?:<\|im_sep\|>|\n?)",
    rf"<\|im_(?P<kimi>user|assistant|system)\|>{NAME}<\|im_middle\|>",
    rf"<\|(?:start_header_id|header_start|start_of_role)\|>(?P<llama>{NAME})"
    r"<\|(?:end_header_id|header_end|end_of_role)\|>\s{0,4}",
    rf"<\|start\|>(?P<oss>{NAME})(?:<\|channel\|>{NAME})?<\|message\|>",
    rf"(?:<start_of_turn>|<\|turn>|<seed:bos>|\]~b\])(?P<gemma>{NAME})\n?",
    r"(?:<[|｜]|\[\|)(?:hy_)?(?P<zephyr>(?i:user|assistant|system|prompter|bot))(?:[|｜]>|\|\]):?\n?",
    r"(?:<\|START_OF_TURN_TOKEN\|>)?<\|(?P<command>USER|CHATBOT|SYSTEM)_TOKEN\|>",
    r"<extra_id_[01]>(?P<nemotron>System|User|Assistant)\n",
    r"GPT4 Correct (?P<openchat>User|Assistant):[ ]?",
    r"(?:^|\n\n)(?P<hh>Human|User|Assistant):[ ]?",
    r"\n(?P<dialogue>Assistant):[ ]?",
    r"(?:^|\n)### ?(?P<alpaca>Instruction|Input|Response|Human|User|Assistant|System):[ ]?\n?",
    r"(?:^|\n|[ ]|(?<=>))(?P<vicuna>USER|ASSISTANT):[ ]?",
    r"(?P<told>\[SYSTEM_PROMPT\])[ ]?",
    r"(?P<asked>\[INST\])[ ]?",
    r"[ ]?(?P<said>\[/INST\])[ ]?",
)
HEAD = re.compile("|".join(HEADS))
OTHER_ROLES = {"[/inst]": "assistant", "response": "assistant", "[system_prompt]": "system"}
# Marks without a role: ends of turns, beginnings and ends of a sequence, and whatever else looks like them.
MARK = re.compile(
    r"<[|｜][^\s<>|｜]{1,40}[|｜]>|</?(?:start|end)_of_turn>|<(?:start|end)_of_turn>|</?s>|<<?/?SYS>>|<(?:bos|eos|pad|unk)>|"
    r"\[/?(?:INST|SYSTEM_PROMPT)\]|<\|turn>|<turn\|>|\[\|[a-z]{1,20}\|\]|<[A-Z]{1,20}_TOKEN>|\[gMASK\]|<(?:sop|eoh|eoa)>|"
    r"<extra_id_[01]>(?=[A-Z])|<seed:[be]os>|\]~b\]|\[e~\["
)
SYSTEM = re.compile(r"<<SYS>>\s*(.*?)\s*<</SYS>>\s*", re.DOTALL)
HH = ("\n\nHuman:", "\n\nAssistant:", "ASSISTANT:")
ALPACA = re.compile(r"^### ?(?:Instruction|Response|Human|User|Assistant):", re.MULTILINE)
# A prompt of turns that ends where the assistant's begins.
DIALOGUE = re.compile(r"\s{0,4}(?:Human|User):.*\nAssistant:\s{0,4}", re.DOTALL)


def has_marks(text: str, special: Collection[str] = ()) -> bool:
    """Whether a text holds marks of a chat template, or one of a tokenizer's `special` tokens."""
    marked = (("<" in text or "[" in text) and MARK.search(text)) or (
        "\nAssistant:" in text and DIALOGUE.fullmatch(text)
    )
    # At the beginning of a text "Human:" may be just a word.
    return (
        bool(marked) or ("### " in text and bool(ALPACA.search(text))) or any(mark in text for mark in (*HH, *special))
    )


def without_marks(pair: ContrastPair, special: Collection[str] = ()) -> ContrastPair:
    """The pair with the marks taken off, and what they told of as it is told elsewhere: system text, earlier turns."""
    system, turns = _turns(pair.prompt, special)
    positive, negative = (_bare(answer, special) for answer in (pair.positive, pair.negative))
    other = " ".join(text for _, text in _turns(pair.negative_prompt, special)[1])
    said = [text for role, text in turns if role == "system"]
    turns = [turn for turn in turns if turn[0] != "system"]
    history, last = (turns[:-1], turns[-1][1]) if turns else ([], "")
    if not last or (pair.negative_prompt and (not other or history)):
        last, history = _bare(pair.prompt, special), []
    lost = bool(pair.positive and not positive) or bool(pair.negative and not negative)
    if not last or lost or (positive == negative and not pair.negative_prompt):
        return pair
    return replace(
        pair,
        prompt=last,
        positive=positive,
        negative=negative,
        negative_prompt=other,
        system="\n\n".join(filter(None, (pair.system, system, *said))),
        history=(*((role, _bare(text, special) or text) for role, text in pair.history), *history),
    )


def _turns(text: str, special: Collection[str]) -> tuple[str, list[Turn]]:
    """System text of a Llama 2 prompt, and the turns that are not empty; a text without heads is the user's."""
    system = SYSTEM.search(text)
    heads = list(HEAD.finditer(text := SYSTEM.sub("", text))) if has_marks(text, special) else []
    if not heads:
        return (system[1] if system else ""), [("user", _bare(text, special))] if text else []
    starts = [0, *(head.end() for head in heads)]
    ends = [*(head.start() for head in heads), len(text)]
    roles = ["user", *map(_role, heads)]
    parts = [(role, _unmarked(text[start:end], special)) for role, start, end in zip(roles, starts, ends, strict=True)]
    turns: list[Turn] = []
    for role, said in parts:
        if turns and turns[-1][0] == role:
            turns[-1] = (role, "\n".join(filter(None, (turns[-1][1], said))))
        else:
            turns.append((role, said))
    return (system[1] if system else ""), [turn for turn in turns if turn[1]]


def _role(head: re.Match[str]) -> str:
    name = head[head.lastgroup or 0].lower()
    return OTHER_ROLES.get(name) or ROLES.get(name, "user")


def _bare(text: str, special: Collection[str]) -> str:
    """A text of one turn without its marks."""
    return _unmarked(HEAD.sub("", SYSTEM.sub("", text)), special) if has_marks(text, special) else text


def _unmarked(text: str, special: Collection[str]) -> str:
    if not has_marks(text, special):
        return text.strip("\n") if "\n" in text else text
    text = MARK.sub("", text)
    for token in special:
        text = text.replace(token, "")
    return text.strip()


def repeats_prompt(pair: ContrastPair) -> bool:
    """Whether both answers begin with the prompt again."""
    asked = pair.prompt.strip()
    both = (pair.positive, pair.negative)
    return len(asked) >= MIN_REPEATED and all(len(a) > len(asked) and a.startswith(asked) for a in both)


# A shorter prompt may well be how an answer begins.
MIN_REPEATED = 12


def without_prompt(pair: ContrastPair) -> ContrastPair:
    """The pair with its prompt cut from both answers."""
    positive, negative = (answer[len(pair.prompt.strip()) :].strip() for answer in (pair.positive, pair.negative))
    return replace(pair, positive=positive, negative=negative) if positive and negative else pair


def lines_with_marks(pairs: Sequence[ContrastPair], special: Collection[str]) -> list[int]:
    """Lines of the pairs that hold marks in any of their texts."""
    # Some tokenizers have hundreds of special tokens, which begin with one of a few letters.
    begins = {token[0] for token in special}
    return [
        pair.line
        for pair in pairs
        if any(has_marks(text, special if any(map(text.__contains__, begins)) else ()) for text in _texts(pair))
    ]


def _texts(pair: ContrastPair) -> tuple[str, ...]:
    before = (text for _, text in pair.history)
    return (pair.prompt, pair.positive, pair.negative, pair.negative_prompt, pair.system, *before)

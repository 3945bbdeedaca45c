"""What an answer is: the letter of an option, however it is written, a word such as Yes, or text.

Letters are known by their form, so that "(A)", "a.", "Answer: **A**" and "（Ａ）" are one letter. A number, a syllable
or an ideograph is a letter only where the question lists it as an option.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

# Longer answers are text, whatever they hold.
MAX_MARK = 60

OPENS = r"[\s(\[{（［【「<〈《\"'“”‘’`*_$«\\]*"
CLOSES = r"[\s)\]}）］】」>〉》\"'“”‘’`*_$».,:;!?。．，、：；！？…\-–—/\ufe0f\u20e3]*"
OPTION_LETTERS = "ABCDEFGHIJ"
# Letters, numbers and signs in a circle, a square or brackets, which need no mark behind them.
ENCLOSED = "[①-⓿❶-➓㈀-㋾🄀-🅩🅰-🆉🇦-🇿]"
# What is put before an answer: some words with a colon, or these.
LEAD = (
    r"(?:(?:[^\W\d_]+[ \t]+){0,4}[^\W\d_]+[ \t]*(?:\*\*)?[:：]|"
    r"(?i:(?:(?:the|my|correct|right|best|final)[ \t]+){0,4}(?:answer|option|choice)(?:[ \t]+is)?[ \t:=])|\\boxed|"
    r"(?:答案|正确答案|答え|回答|选项|選項|選択肢|[我故应應]?[选選][择擇]?)[是は]?[ \t:：]?)"
)
# A letter, of which Persian writes the first out; a number, also in Roman ones.
NAME = rf"الف|[^\W\d_]|\d{{1,2}}|[ivxIVX]{{1,4}}|{ENCLOSED}"
LETTER = re.compile(rf"(?:{OPENS}{LEAD})?{OPENS}(?P<letter>{NAME}){CLOSES}", re.DOTALL)
WORD = re.compile(rf"(?:{OPENS}{LEAD})?{OPENS}(?P<word>[^\W\d_][\w'’]*){CLOSES}", re.DOTALL)
# A letter with its option's text behind it: "(A) Keep it", "B: drop it".
WITH_TEXT = re.compile(
    rf"(?P<open>[(\[（【*]*)(?P<letter>{NAME})(?P<close>[)\]）】*.:：、．]+|[ ]+[-–—](?=[ ]))[ \t]*(?P<text>\S.*)"
)

# An option of a question: a line that begins with its letter in brackets; or with a letter and some other mark.
OPTION = re.compile(r"^([ \t]*\(([A-Z])\)[ \t]*)(.*)$", re.MULTILINE)
ANY_OPTION = re.compile(
    r"^([ \t]*(?:[-*•][ \t]+)?(?:(?i:option|choice|answer)[ ]+)?(?:\*\*|`)?[(\[（【「{<]?"
    rf"({ENCLOSED}(?=\ufe0f?[^.)])|(?:{NAME})(?=(?:\*\*|`)?(?:[)\]）】」}}>.:：、．,/`\ufe0f\u20e3]|[ ][-–—][ ])))"
    r"[)\]）】」}>.:：、．,/`*\ufe0f\u20e3]*(?:[ ][-–—](?=[ ]))?[ \t]*)(.*)$",
    re.MULTILINE,
)
# Options on one line: "(A) Yes (B) No", "A) yes; B) no", "(A) yes or (B) no".
OR = r"(?:or|and|oder|ou|или)"
INLINE = re.compile(
    rf"((?:(?<=[\s:])|^)[(\[（【]?({NAME})[)\]）】][ \t]*)"
    rf"(\S.*?)(?=[ \t;,]{{0,3}}(?:$|(?:\s{OR})?\s[(\[（【]?(?:{NAME})[)\]）】]))",
    re.MULTILINE,
)
# What may stand between two options of a line, and of a list.
BESIDE, BELOW = re.compile(rf"[ \t;,]{{0,3}}(?:\s{OR})?\s*"), re.compile(r"\s*")
# A line behind the options by which the answer is asked for.
ASKED = re.compile(
    r"\n[^\n]{0,80}[:：][ \t]*\s?|"
    r"\n[ \t]*(?i:(?:(?:the|your|my|correct|best|final) ){0,2}(?:answer|choice)|respond|reply|choose|pick|please)\b"
    r"[^\n]{0,200}\s?"
)

# Characters without a shape: controls that are no space, of the category Cf, variation selectors, and blanks.
UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u2800\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)

# Words for yes and for no, lower case.
YES_NO = [
    set(words.split())
    for words in (
        "yes no",
        "y n",
        "t f",
        "yeah nope",
        "yep nope",
        "true false",
        "right wrong",
        "correct incorrect",
        "agree disagree",
        "ja nein",
        "ja nee",
        "ja nej",
        "ja nei",
        "wahr falsch",
        "richtig falsch",
        "oui non",
        "vrai faux",
        "sí no",
        "si no",
        "verdadero falso",
        "sì no",
        "vero falso",
        "sim não",
        "sim nao",
        "verdadeiro falso",
        "да нет",
        "верно неверно",
        "так ні",
        "tak nie",
        "prawda fałsz",
        "ano ne",
        "áno nie",
        "da ne",
        "da nu",
        "igen nem",
        "evet hayır",
        "evet hayir",
        "bəli xeyr",
        "po jo",
        "já nei",
        "այո ոչ",
        "კი არა",
        "አዎ አይ",
        "ndio hapana",
        "هو نه",
        "بله خیر",
        "જી ના",
        "હા ના",
        "ਹਾਂ ਨਹੀਂ",
        "అవును కాదు",
        "ಹೌದು ಇಲ್ಲ",
        "അതെ അല്ല",
        "ඔව් නැහැ",
        "有 没有",
        "能 不能",
        "可以 不可以",
        "对 不对",
        "赞成 反对",
        "賛成 反対",
        "doğru yanlış",
        "kyllä ei",
        "jah ei",
        "jā nē",
        "taip ne",
        "ναι όχι",
        "נכון לא",
        "כן לא",
        "نعم لا",
        "صحيح خطأ",
        "بله نه",
        "हाँ नहीं",
        "हां नहीं",
        "सही गलत",
        "হ্যাঁ না",
        "ஆம் இல்லை",
        "ใช่ ไม่",
        "ใช่ ไม่ใช่",
        "có không",
        "đúng sai",
        "ya tidak",
        "benar salah",
        "ndiyo hapana",
        "はい いいえ",
        "はい いや",
        "正しい 間違い",
        "是 否",
        "是 不是",
        "是的 不是",
        "是的 不",
        "对 错",
        "對 錯",
        "会 不会",
        "正确 错误",
        "正確 錯誤",
        "예 아니요",
        "예 아니오",
        "네 아니요",
        "네 아니오",
        "맞다 틀리다",
    )
]


@dataclass(frozen=True)
class Letter:
    """A letter as an answer writes it.

    name: the letter by which options are known, "A" for "(a)". written: as it stands there, from `start` to `end`.
    text: what stands behind it, the text of its option.
    """

    name: str
    written: str
    start: int
    end: int
    text: str = ""

    def replaced(self, answer: str, other: "Letter") -> str:
        """The answer with another letter in the same place."""
        return answer[: self.start] + other.written + answer[self.end :]

    def form(self, answer: str) -> str:
        """How the letter is written, the same for every letter: "(A)", "(a)", "A.", "(A) ..."."""
        kind = "a" if self.written.islower() else "1" if self.written.isdigit() else "A"
        return answer[: self.start] + kind + ("." * 3 if self.text else answer[self.end :])


# Squared and circled letters that Unicode does not say to be letters.
SQUARED = {start + i: 65 + i for start in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)}
SQUARED |= {0x2776 + i: 49 + i for i in range(9)}


def named(letter: str) -> str:
    """A letter however wide, small or circled: its plain capital."""
    plain = unicodedata.normalize("NFKC", letter.translate(SQUARED)).strip("()").upper()
    return plain or letter


def without_letters(options: dict[str, str]) -> dict[str, str]:
    """Options without the letters that their texts begin with; under these, where each has one."""
    found = [WITH_TEXT.fullmatch(text) for text in options.values()]
    own = {named(match["letter"]): match["text"] for match in found if match}
    return own if len(own) == len(options) else options


def unseen_out(text: str) -> str:
    """Text without characters that are not seen."""
    return UNSEEN.sub("", text)


def folded(text: str) -> str:
    """Text by which near copies are the same: width, case, unseen characters and the amount of space do not matter."""
    return " ".join(unicodedata.normalize("NFKC", unseen_out(text)).casefold().split())


def bare(answer: str) -> str:
    """The word of an answer of one word, or the whole answer, folded, without the marks around it."""
    found = WORD.fullmatch(_shape(answer)) if len(answer) <= MAX_MARK else None
    return folded(answer[slice(*found.span("word"))] if found else answer).strip(
        ".,:;!?。．，、：；！？…\"'“”‘’`*_()[] "
    )


def is_yes_or_no(positive: str, negative: str) -> bool:
    """Whether the answers are words for yes and no, in one language."""
    if max(len(positive), len(negative)) > MAX_MARK:
        return False
    words = {bare(positive), bare(negative)}
    return any(words <= pair for pair in YES_NO)


def form_of_word(answer: str) -> str:
    """How a word is written, the same for every word: "Xx", "xx.", "Answer: Xx"."""
    found = WORD.fullmatch(_shape(answer)) if len(answer) <= MAX_MARK else None
    if not found:
        return answer
    word = answer[slice(*found.span("word"))]
    case = "xx" if word == word.lower() else "Xx" if word == word.capitalize() else "XX"
    return answer[: found.start("word")] + case + answer[found.end("word") :]


def options_in(prompt: str, letters: Collection[str] = ()) -> tuple[re.Pattern[str], dict[str, str]]:
    """The pattern that finds a question's options, and their texts by letter.

    No texts where it lists none, not all of `letters`, or one of more than a line.
    """
    for pattern in (OPTION, ANY_OPTION, INLINE):
        found = list(pattern.finditer(prompt))
        names = [named(option[2]) for option in found]
        if len(found) < 2 or (pattern is not OPTION and not (set(letters) <= set(names) and _are_apart(names))):
            continue
        rest = [prompt[a.end() : b.start()] for a, b in pairwise(found)]
        tail = prompt[found[-1].end() :]
        if any(not (BESIDE if pattern is INLINE else BELOW).fullmatch(gap) for gap in rest):
            break
        if tail.strip() and not tail.startswith("\n\n") and not ASKED.fullmatch(tail):
            break
        return pattern, {name: option[3] for name, option in zip(names, found, strict=True)}
    return OPTION, {}


def _are_apart(names: list[str]) -> bool:
    return len(set(names)) == len(names)


def letters_of(prompt: str, positive: str, negative: str) -> tuple[Letter, Letter] | None:
    """The letters that two answers are; None where they are something else."""
    for read in (_alone, _with_text):
        found = read(positive, negative)
        # "Y" and "N" are words, unless they are listed.
        word = found is not None and not found[0].text and is_yes_or_no(positive, negative)
        sure = found is not None and not word and all(map(_is_sure, found, (positive, negative)))
        if found and (sure or _listed(prompt, found)):
            return found
    found = _in_words(positive, negative)
    return found if found and _listed(prompt, found) else None


def _is_sure(letter: Letter, answer: str) -> bool:
    """True for a capital, and for a small letter with a mark, which need no list of options to be known."""
    kind = unicodedata.category(letter.written[0])
    if "Ⓐ" <= letter.written[0] <= "ⓩ":
        return True
    return len(letter.written) == 1 and (kind == "Lu" or (kind == "Ll" and answer.strip() != letter.written))


def _listed(prompt: str, letters: tuple[Letter, Letter]) -> bool:
    names = {letter.name for letter in letters}
    return names <= options_in(prompt, names)[1].keys()


def _letter(found: re.Match[str], text: str = "") -> Letter:
    return Letter(named(found["letter"]), found["letter"], *found.span("letter"), text)


def _alone(positive: str, negative: str) -> tuple[Letter, Letter] | None:
    if max(len(positive), len(negative)) > MAX_MARK:
        return None
    found = [LETTER.fullmatch(_shape(answer)) for answer in (positive, negative)]
    return (_letter(found[0]), _letter(found[1])) if found[0] and found[1] else None


def _shape(answer: str) -> str:
    """An answer of the same length in which unseen characters are space, and signs upon or behind letters letters."""
    if answer.isascii():
        return answer
    signed = "".join("a" if unicodedata.category(letter) in ("Mn", "Mc") else letter for letter in answer)
    return UNSEEN.sub(lambda found: " " * len(found[0]), signed)


def _with_text(positive: str, negative: str) -> tuple[Letter, Letter] | None:
    found = [WITH_TEXT.fullmatch(answer) for answer in (positive, negative)]
    if not found[0] or not found[1] or (found[0]["open"], found[0]["close"]) != (found[1]["open"], found[1]["close"]):
        return None
    letters = _letter(found[0], found[0]["text"]), _letter(found[1], found[1]["text"])
    return letters if letters[0].name != letters[1].name else None


def _in_words(positive: str, negative: str) -> tuple[Letter, Letter] | None:
    """Answers that are the same but for one letter: "I choose A"."""
    if max(len(positive), len(negative)) > MAX_MARK:
        return None
    start = next((i for i, (a, b) in enumerate(zip(positive, negative, strict=False)) if a != b), 0)
    # Scripts without spaces have words right beside a letter.
    spot = re.compile(rf"(?<![^\W぀-ヿ㐀-鿿가-힣])(?P<letter>{NAME})(?![^\W぀-ヿ㐀-鿿가-힣])")
    found = [spot.match(answer, start) for answer in (positive, negative)]
    if not found[0] or not found[1] or positive[found[0].end() :] != negative[found[1].end() :]:
        return None
    return _letter(found[0]), _letter(found[1])

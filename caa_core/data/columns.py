"""Which column of a file holds what: the names that people give to prompts and answers."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from caa_core.data.answers import unseen_out
from caa_core.errors import InputError

# Names of a pair's fields, in the order prompt, positive answer, negative answer.
PAPER_FIELDS = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
TEXT_FIELDS = ("prompt", "positive", "negative")
# Names of the two prompts of a pair that differs in its prompt.
PROMPT_FIELDS = ("positive_prompt", "negative_prompt")

# What each part of a pair is called, best names first; those of one list are equally good. The last are German, which
# the page speaks too.
NAMES = {
    "prompt": (["prompt"], ["question"], ["instruction", "input", "query", "request"], ["frage", "anweisung"]),
    "positive": (
        ["positive"],
        ["answer_matching_behavior"],
        ["pos", "chosen", "matching", "answer_matching", "preferred", "accepted"],
        ["positiv", "gut"],
    ),
    "negative": (
        ["negative"],
        ["answer_not_matching_behavior"],
        ["neg", "rejected", "reject", "not_matching", "answer_not_matching", "dispreferred"],
        ["negativ", "schlecht"],
    ),
}
# Columns that belong to the prompt: what the system says, what was said before, an answer's options; a second part.
CONTEXT = {
    "system": {"system", "systemprompt", "systemmessage", "systeminstruction", "sysprompt", "sys"},
    "history": {"history"},
    "options": {"options", "choices", "answerchoices", "answers", "answeroptions"},
}
# As what a column is read, each whole, so that it can be said in another language.
READ_AS = {
    "prompt": "{field} as prompt",
    "positive_prompt": "{field} as positive_prompt",
    "negative_prompt": "{field} as negative_prompt",
    "positive": "{field} as positive",
    "negative": "{field} as negative",
    "system": "{field} as system",
    "history": "{field} as history",
    "options": "{field} as options",
}
SECOND = "input"
# A column for each option: "A", "option_a", "choice1".
LETTERED = re.compile(r"(?:options?|choices?|opt?)?([a-j])|(?:options?|choices?|opt?)([1-9])")
# Columns that may belong to it, which nobody can know: of these names, or of names that end so.
PERHAPS = (
    SECOND,
    "instruction",
    "instructions",
    "context",
    "passage",
    "paragraph",
    "document",
    "article",
    "story",
    "background",
    "knowledge",
    "scenario",
    "premise",
    "hypothesis",
    "statement",
    "claim",
    "persona",
    "preamble",
    "fewshot",
    "examples",
    "history",
    "dialogue",
    "dialog",
    "conversation",
    "messages",
    "text",
    "hint",
    "query",
    "question",
    "prompt",
    "prefix",
)
# A header has no more columns, and none of a longer name.
MAX_NAMES, MAX_NAME = 100, 60
# Columns that a list of open questions may have besides the question.
LABELS = {"id", "index", "category"}


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold a pair's parts.

    `negative_prompt` is empty where both answers share one prompt. Where it is not, `prompt` is the positive answer's,
    and `positive` and `negative` may both be empty: the pair is then one of prompts alone. `more` are columns that
    follow the prompt's text, each on a line of its own; `system`, `history` and `options` may be empty, and several
    columns of options are one an option, called by its letter.
    """

    prompt: str
    positive: str = ""
    negative: str = ""
    negative_prompt: str = ""
    more: tuple[str, ...] = ()
    system: str = ""
    history: str = ""
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Columns":
        """Columns from "PROMPT,POSITIVE,NEGATIVE", with a NEGATIVE_PROMPT behind them for pairs of two prompts.

        Several columns of which the prompt is made are joined by "+".
        """
        names = [name.strip() for name in next(csv.reader(text.splitlines()[:1]), [])]
        if not 3 <= len(names) <= 4:
            raise InputError(f"'{shown(text)}' names no columns: give PROMPT,POSITIVE,NEGATIVE.")
        prompt, positive, negative, negative_prompt = [*names, ""][:4]
        return cls(prompt, positive, negative, negative_prompt)

    @property
    def roles(self) -> dict[str, str]:
        """The columns in use, by what they hold."""
        prompts = dict(zip(PROMPT_FIELDS if self.negative_prompt else TEXT_FIELDS[:1], self.prompts, strict=True))
        answers = {"positive": self.positive, "negative": self.negative}
        return prompts | {role: column for role, column in answers.items() if column}

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.prompt, self.negative_prompt) if self.negative_prompt else (self.prompt,)

    def __str__(self) -> str:
        """In words: "the CAA paper's fields", "prompt, positive, negative", "question as prompt, ..."."""
        prompt = "+".join(map(shown, (self.prompt, *self.more)))
        roles = self.roles | {"prompt": prompt} if self.more else self.roles
        context = {"system": self.system, "history": self.history, "options": "+".join(map(shown, self.options))}
        named = [_named(role, column) for role, column in roles.items()]
        if (self.prompt, self.positive, self.negative, self.more) == (*PAPER_FIELDS, ()):
            named = ["the CAA paper's fields"]
        return ", ".join([*named, *(_named(role, column) for role, column in context.items() if column)])

    @property
    def in_use(self) -> set[str]:
        """All columns that are read."""
        return {*self.roles.values(), *self.more, self.system, self.history, *self.options} - {""}

    def with_context(self, fields: Sequence[str]) -> "Columns":
        """The same with the columns that belong to the prompt by their names, and are not in use."""
        free = [field for field in fields if field not in self.in_use]
        found = {role: next((field for field in free if _tidy(field) in names), "") for role, names in CONTEXT.items()}
        letters = {letter: field for field in reversed(free) if (letter := option_letter(field))}
        begun = letters.keys() >= {"A", "B"} or letters.keys() >= {"1", "2"}
        several = tuple(letters[letter] for letter in sorted(letters)) if begun else ()
        options = (found["options"],) if found["options"] else several
        return replace(
            self,
            system=self.system or found["system"],
            history=self.history or found["history"],
            options=self.options or options,
        )

    def check(self, fields: Sequence[str], name: str) -> "Columns":
        """Itself. Raises InputError where the file `name`, which has `fields`, cannot be read so."""
        if "+" in self.prompt and self.prompt not in fields:
            first, *more = (part.strip() for part in self.prompt.split("+"))
            return replace(self, prompt=first, more=tuple(more)).check(fields, name)
        missing = next((column for column in (*self.roles.values(), *self.more) if column not in fields), None)
        if missing is not None:
            raise InputError(f"{name} has no column '{shown(missing)}'; it has {listed(fields)}.")
        if bool(self.positive) != bool(self.negative) or not (self.positive or self.negative_prompt):
            raise InputError(f"{name}: name a column for the positive answer and one for the negative answer.")
        found = self.with_context(fields)
        return self if found == self else found


def match_columns(fields: Sequence[str], name: str) -> Columns:
    """The columns that hold the parts of a pair, by their names; capitals, spaces and underscores do not matter.

    Raises:
        InputError: a part has no column, or two whose names are equally good. `name` is the file's.
    """
    prompts = [_best(fields, ((role,),), role, name) for role in PROMPT_FIELDS]
    answers = [_best(fields, NAMES[role], role, name) for role in ("positive", "negative")]
    if answers[1] and not answers[0]:
        answers[0] = next((field for field in fields if _tidy(field) == "response"), "")
    if all(prompts):
        positive, negative = answers if all(answers) else ("", "")
        return Columns(prompts[0], positive, negative, prompts[1]).with_context(fields)
    second = next((field for field in fields if _tidy(field) == SECOND), "")
    prompt = _best([field for field in fields if field != second], NAMES["prompt"], "prompt", name)
    if not prompt:
        prompt, second = second, ""
    if prompt and all(answers):
        more = (second,) if second else ()
        return Columns(prompt, answers[0], answers[1], more=more).with_context(fields)
    if all(answers):
        raise InputError(
            f"{name} has pairs of texts without prompts ({listed(fields)}): "
            "give each pair a prompt, in a column 'prompt'."
        )
    if are_questions(fields):
        raise InputError(f"{name} has questions without pairs of answers, so no vector can be made from it.")
    first, second = ", ".join(TEXT_FIELDS), ", ".join(PAPER_FIELDS)
    raise InputError(
        f"{name} has the fields {listed(fields)}; needed are {first}, or {second}; or name the columns that hold them."
    )


def prompt_column(fields: Sequence[str], name: str) -> str:
    """The column of prompts, by its name. Raises InputError where there is none, or more than one."""
    column = _best(fields, NAMES["prompt"], "prompt", name)
    if not column:
        raise InputError(f"{name} has the fields {listed(fields)}; name the one that holds the questions 'question'.")
    return column


def are_questions(fields: Sequence[str]) -> bool:
    """True for the fields of a list of open questions: a prompt, and nothing that could be an answer."""
    prompts = {_tidy(name) for names in NAMES["prompt"] for name in names}
    have = {_tidy(field) for field in fields}
    return bool(have & prompts) and have <= prompts | LABELS


def may_answer(field: str) -> bool:
    """Whether a column is called as one of answers is."""
    return any(_best([field], NAMES[role], role, "") for role in ("positive", "negative"))


def may_be_of_the_prompt(fields: Sequence[str], columns: Columns) -> list[str]:
    """Columns that are not read, though their names say that they may belong to the prompt."""
    context = set().union(*CONTEXT.values())
    names = [(field, _tidy(re.sub(r"(?i)[ _-]text$", "", field))) for field in fields]
    return [
        field
        for field, name in names
        if field not in columns.in_use and (name.endswith(PERHAPS) or name in context or option_letter(field))
    ]


def option_letter(field: str) -> str:
    """The letter or number of the option that a column holds by its name: "A" of "option_a"; empty for others."""
    found = LETTERED.fullmatch(_tidy(field))
    if not found or (len(field) == 1 and not field.isupper()):
        return ""
    return (found[1] or found[2]).upper()


def names_columns(cells: Sequence[str]) -> bool:
    """True for the cells of a header that names the columns of pairs or of questions."""
    names = [cell.strip() for cell in cells if cell.strip()]
    if not 0 < len(names) <= MAX_NAMES or max(map(len, names)) > MAX_NAME:
        return False
    try:
        return are_questions(names) or bool(match_columns(names, ""))
    except InputError:
        return False


def shown(name: str) -> str:
    """A column's name as it can be put into a sentence."""
    return " ".join(unseen_out(name).split())[:40].encode("utf-8", "replace").decode()


def listed(fields: Sequence[str]) -> str:
    """Names of a file's columns for a sentence."""
    return ", ".join(map(shown, fields[:6])) + (", ..." if len(fields) > 6 else "") or "(none)"


def _best(fields: Sequence[str], names: Sequence[Sequence[str]], role: str, name: str) -> str:
    """The one field with the best name for a role; empty where none has one."""
    ranks = [({_tidy(equal) + more for equal in equals for more in ("", "s")}, _tidy) for equals in names]
    # A name such as "chosen_response" is as good as the last of the names without its end.
    ranks.append((set().union(*(tidy for tidy, _ in ranks)), _stem))
    for wanted, key in ranks:
        found = [field for field in fields if key(field) in wanted]
        if len(found) > 1:
            columns = " or ".join(f"'{shown(field)}'" for field in found)
            raise InputError(f"{name}: {columns} may be the {role.replace('_', ' ')}; choose the columns yourself.")
        if found:
            return found[0]
    return ""


def _named(role: str, column: str) -> str:
    return role if _tidy(column) == _tidy(role) else READ_AS[role].format(field=shown(column))


def _tidy(name: str) -> str:
    return re.sub(r"[\s_-]+", "", unseen_out(name)).lower()


def _stem(name: str) -> str:
    # Nor does a remark behind it count: "prompt (in English)".
    return re.sub(r"(answer|response|completion|text)$", "", _tidy(re.sub(r"[(\[][^()\[\]]*[)\]]\s*$", "", name)))

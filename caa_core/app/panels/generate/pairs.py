"""Contrast pairs: choose a preset, bring a file, type rows; see what they are and mend what the linter finds."""

import json
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.holdings import size_of
from caa_core.app.panels.common import LATEST, QUIET, Updates, guarded, plain, say_gone
from caa_core.app.panels.controls import PAIR_FILES, as_questions, file_picker
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.quick_check import Capability
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.data.columns import Columns
from caa_core.data.lint import Finding, LintReport, lint
from caa_core.data.pairs import Dataset, pairs_from_rows, write_pairs
from caa_core.data.presets import find_table, presets
from caa_core.data.repair import mend
from caa_core.data.tables import Table, read_table
from caa_core.errors import InputError
from caa_core.limits import HERE, PAIRS, is_public
from caa_core.model.loading import SteerableModel

FIRST = "joy"
PREVIEW = 200
READING = "These pairs are being read ..."
CHOOSE = "Which column is which? [Choose](#generate-columns)"
END = 150
HEADERS = ["prompt", "positive", "negative"]
# What can be chosen of a table, by the names of `Columns`: how it is labelled, and called on the page.
COLUMNS = {
    "prompt": ("prompt", "prompt-column"),
    "positive": ("positive", "positive-column"),
    "negative": ("negative", "negative-column"),
    "negative_prompt": ("negative's prompt", "other-column"),
}


@dataclass(frozen=True)
class Draft:
    """Pairs on their way to a vector: a table, which columns hold what, and the mends that were chosen.

    `report` is the linter's, None before the columns are known, and `after` is the one of the pairs as they are mended.
    `dataset` is None where `problem` says what keeps the table from being one; `unreadable` where there is no table.
    `model` is the fingerprint of the model whose tokenizer it was looked over with: lengths and letters are its.
    """

    name: str
    table: Table
    columns: Columns | None = None
    mends: tuple[str, ...] = ()
    report: LintReport | None = None
    after: LintReport | None = None
    dataset: Dataset | None = None
    problem: str = ""
    unreadable: bool = False
    model: str = field(default="", compare=False)

    @classmethod
    def of(
        cls,
        model: SteerableModel,
        name: str,
        table: Table,
        columns: Columns | None = None,
        mends: Sequence[str] = (),
    ) -> "Draft":
        """Look the table over, as far as a vector can be made of it. Raises InputError for one whose columns could not
        be chosen either.
        """
        with HERE():
            return cls._looked_over(model, name, table.first(PAIRS.value), columns, mends)

    @classmethod
    def _looked_over(
        cls,
        model: SteerableModel,
        name: str,
        table: Table,
        columns: Columns | None,
        mends: Sequence[str],
    ) -> "Draft":
        # Of two remedies for one finding, the one that was chosen last.
        mends = tuple({mended.partition(": ")[2]: mended for mended in mends}.values())
        draft = cls(name, table, columns, mends, model=model.fingerprint)
        try:
            columns = table.match_columns(columns)
        except InputError as error:
            if len(table.fields) < len(HEADERS) or table.has_questions:
                raise
            return replace(draft, problem=f"{error} Choose them below.")
        report = lint(table, columns, model.pair_tokens)
        draft = replace(draft, columns=columns, report=report, after=report)
        choices = {finding: remedy for remedy, _, finding in (mended.partition(": ") for mended in mends)}
        try:
            dataset = mend(table, report, choices, columns, model.pair_tokens, name)
        except InputError as error:
            return replace(draft, problem=str(error))
        after = lint(dataset.table(), None, model.pair_tokens) if mends else report
        return replace(draft, dataset=dataset, after=after)

    @classmethod
    def brought(cls, model: SteerableModel, name: str, read: Callable[[], Table]) -> "Draft":
        """Look over what is read; where it cannot be, that is what there is, in place of what was there before."""
        try:
            return cls.of(model, name, read())
        except InputError as error:
            return cls.nothing(name, str(error))

    def for_model(self, model: SteerableModel) -> "Draft":
        """The same pairs looked over for `model`; itself where it was, or where nothing is known that it changes."""
        if self.model == model.fingerprint or self.report is None:
            return self
        return Draft.of(model, self.name, self.table, self.columns, self.mends)

    @classmethod
    def nothing(cls, name: str, problem: str) -> "Draft":
        """No table, and what keeps it from being one."""
        return cls(name, Table(name, "", "", []), problem=problem, unreadable=True)

    @property
    def size(self) -> int:
        """About how many bytes it takes: the table, and the texts once more as pairs."""
        return 2 * sum(size_of(record) for _, record in self.table.records)

    @property
    def vector_name(self) -> str:
        """A name for the vector to be made of them: a preset's own vector has the preset's."""
        return f"my {self.name}" if self.name in presets() else self.name

    @property
    def offers(self) -> list[tuple[str, str]]:
        """Mends to choose from: what to read, and "remedy: finding"."""
        findings = self.report.findings if self.report else ()
        return [
            (_offer(remedy, finding), f"{remedy}: {finding.what}")
            for finding in findings
            for remedy in finding.remedies
        ]

    @property
    def pairs(self) -> Dataset:
        """The pairs. Raises InputError, with what to do, where there are none yet."""
        if self.dataset is None:
            drop = " Choose 'drop' under Fixes to go on without it." if self.offers else ""
            raise InputError(self.problem + drop)
        return self.dataset


class Held:
    """What a page knows of the pairs that it works on, which their person keeps as long as there is room."""

    def __init__(self, draft: Draft, person: Person | None = None, page: str = ""):
        self._draft, self._table, pairs = weakref.ref(draft), weakref.ref(draft.table), draft.dataset
        self._person, self._page = (weakref.ref(person) if person else None), page
        self.described = f"{pairs.name}: {pairs.described}" if pairs else "none that can be used"

    @property
    def draft(self) -> Draft:
        """The pairs. Raises InputError where they had to go, or others were chosen while an event waited."""
        if (draft := self._draft() or self._looked_over_since()) is None:
            raise InputError(
                "These pairs are gone: others came in their place, or they had to make room. Try again with those that "
                "are shown now, or bring these again."
            )
        return draft

    def _looked_over_since(self) -> Draft | None:
        """The same table's, where an event has waited while another one was worked on."""
        person = self._person and self._person()
        now: Draft | None = person.drafts.get(self._page) if person else None
        return now if now and now.table is self._table() else None


def _offer(remedy: str, finding: Finding) -> str:
    """A mend to tick. How many letters balance takes is less than the finding's lines, and seen when it is done."""
    return f"{remedy}: {finding.what}" + ("" if remedy == "swap" else f" ({len(finding.lines)})")


class Pairs:
    """Draws the choice of pairs and the view of them. `draft` is a state that is `Held`."""

    def __init__(self, page: Page):
        self.page, self.studio = page, page.studio
        self.first = Draft.of(self.studio.model, FIRST, find_table(FIRST))
        self.draft = gr.State(Held(self.first))

    def choice(self) -> None:
        """Draw where pairs come from: a preset or a file."""
        with gr.Row():
            self.preset = gr.Dropdown(
                list(presets()), value=FIRST, label="A preset", elem_id="generate-preset", scale=2, min_width=140
            )
            self.questions = as_questions("generate-questions")
        self.upload = file_picker("or your own: prompt, positive, negative", "generate-upload", PAIR_FILES)

    def sources(self) -> None:
        """Draw what else pairs may come from."""
        with gr.Accordion("Pairs from a Hugging Face dataset", open=False, visible=not is_public()):
            self.hub = gr.Textbox(
                label="Dataset", placeholder="owner/name, owner/name:config@split", elem_id="generate-hub"
            )
            self.fetch = gr.Button("Fetch", size="sm", elem_id="generate-fetch")

    def view(self) -> None:
        """Draw what the pairs are, what can be mended, and the pairs themselves."""
        self.kind = gr.Markdown(_kind(self.first, self.studio), elem_id="generate-kind")
        self.mends = gr.CheckboxGroup(
            self.first.offers,
            label="Fixes",
            info="Nothing is changed unless you choose it; what was done is kept in the vector's papers.",
            visible=bool(self.first.offers),
            elem_id="generate-mends",
        )
        with gr.Accordion("Columns", open=False, elem_id="generate-columns") as self.columns_box, gr.Row():
            chosen = _chosen(self.first)
            self.columns = {
                name: gr.Dropdown(
                    _fields(self.first), value=chosen[name], label=label, min_width=120, elem_id=f"generate-{elem_id}"
                )
                for name, (label, elem_id) in COLUMNS.items()
            }
        self.preview = gr.Dataframe(
            _preview(self.first),
            headers=["#", *HEADERS],
            column_widths=["9%", "31%", "30%", "30%"],
            datatype=["number", "str", "str", "str"],
            interactive=False,
            wrap=True,
            max_height=360,
            buttons=["fullscreen"],  # not "copy", which makes CSV that a spreadsheet would run formulas from
            elem_id="generate-preview",
        )
        first = str(presets()[FIRST].pairs_file)
        self.save = gr.DownloadButton("Download the pairs", first, size="sm", elem_id="generate-save")
        with gr.Accordion("Type or edit pairs", open=False, elem_id="generate-edit"):
            gr.Markdown("A row is a pair: a prompt, an answer that shows the behaviour, and one that does not.")
            self.rows = gr.Dataframe(
                [["", "", ""]] * 4,
                headers=HEADERS,
                datatype="str",
                type="array",
                # Its own limits are not implemented yet, and a pair is how they are given meanwhile.
                column_count=(3, "fixed"),  # type: ignore[arg-type]
                interactive=True,
                wrap=True,
                max_height=320,
                buttons=["fullscreen"],
                elem_id="generate-rows",
            )
            with gr.Row():
                self.edit = gr.Button("Edit the pairs above", size="sm", elem_id="generate-take")
                self.use = gr.Button("Use these rows", size="sm", elem_id="generate-use")

    def wire(self, name: gr.Textbox, status: gr.Markdown) -> None:
        """Let it work; `name` is filled with a name for the vector, `status` says what the pairs lack."""
        # Of choices made while an earlier one is worked on, the last counts; gradio would drop them.
        columns = list(self.columns.values())
        shown = [self.draft, self.kind, self.mends, self.columns_box, *columns, self.preview, self.save]
        self.name = name
        taken = [*shown, name, self.preset, self.upload]
        chose = gr.on(
            [self.preset.input, self.questions.input], self.choose, [self.preset, self.questions], taken, **LATEST
        )
        read = self.upload.upload(self.read, self.upload, taken, **LATEST)
        fetched = gr.on([self.fetch.click, self.hub.submit], self.fetch_dataset, self.hub, taken, **QUIET)
        chosen = [self.draft, self.mends, *columns]
        chosen_again = gr.on(
            [self.mends.input, *(column.input for column in columns)], self.again, chosen, shown, **LATEST
        )
        for looked_over in (chose, read, fetched, chosen_again):
            looked_over.success(_what_is_needed, self.draft, status, **LATEST)
        self.page.news.change(self.another_model, self.draft, taken, **QUIET)
        self.page.restore(self.restore, taken)
        self.edit.click(self.take, self.draft, self.rows, **QUIET)
        self.use.click(self.use_rows, self.rows, taken, **QUIET)

    @guarded
    def choose(self, request: gr.Request, preset: str | None, questions: bool) -> dict:
        """Pairs of a preset."""
        if not preset:
            return {self.draft: gr.skip()}
        wanted = f"{preset}:ab" if questions else preset
        title = f"{preset} (A/B questions)" if questions else preset
        draft = Draft.of(self.studio.model, title, find_table(wanted))
        return self._shown(draft, request) | {self.name: draft.vector_name, self.upload: None}

    @guarded
    def read(self, request: gr.Request, path: str | None) -> Iterator[Updates]:
        """Pairs of a file."""
        if not path:
            yield {self.draft: gr.skip()}
            return
        draft = yield from self._brought(Path(path).stem, lambda: read_table(Path(path)), request)
        if draft.unreadable:  # it leaves its place to the next one
            yield {self.upload: None}

    @guarded
    def fetch_dataset(self, request: gr.Request, dataset: str) -> Iterator[Updates]:
        """Pairs of a dataset of the hub."""
        yield {self.upload: None}
        yield from self._brought(dataset.strip(), lambda: find_table(f"hub:{dataset}"), request)

    def _brought(self, name: str, read: Callable[[], Table], request: gr.Request) -> Generator[Updates, None, Draft]:
        """Updates that say that pairs are read, and then show them, which are returned."""
        self.page.session(request)  # for whom they are read
        reading = Draft.nothing(name, READING)  # which goes when this has ended, however it did
        yield self._drawn(reading, Held(reading)) | {self.name: reading.vector_name, self.preset: None}
        try:
            draft = Draft.brought(self.studio.model, name, read)
        except Exception:
            yield self._shown(Draft.nothing(name, "Something failed inside the app."), request)
            raise
        yield self._shown(draft, request)
        return draft

    @guarded
    def again(self, request: gr.Request, held: Held, mends: list[str], *columns: str | None) -> dict:
        """The same file with other columns or mends."""
        draft = held.draft
        chosen = self._named(draft.columns, columns)
        if not chosen.prompt or not ((chosen.positive and chosen.negative) or chosen.negative_prompt):
            # What is chosen so far stays; what it gave does not.
            told = "Choose columns for the prompt and for both answers."
            waiting = replace(draft, report=None, after=None, dataset=None, problem=told)
            return {
                self.draft: self._keep(waiting, request),
                self.kind: _kind(waiting, self.studio),
                self.preview: gr.Dataframe(_preview(waiting), headers=["#", *_headers(waiting)]),
            }
        self.page.session(request)  # for whom it is looked over
        same = chosen == draft.columns
        again = Draft.of(self.studio.model, draft.name, draft.table, chosen, mends if same else ())
        # What the person sets here is theirs: written back late, it would undo what they have set meanwhile.
        written = {self.columns_box, *self.columns.values()}
        if again.offers == draft.offers and set(again.mends) == set(mends):
            written.add(self.mends)
        return {part: update for part, update in self._shown(again, request).items() if part not in written}

    def _named(self, known: Columns | None, columns: Sequence[str | None]) -> Columns:
        """The columns that are chosen on the page, and those that the table is known to have besides."""
        chosen: dict[str, Any] = {name: column or "" for name, column in zip(self.columns, columns, strict=True)}
        if known and known.prompt == chosen["prompt"]:
            return replace(known, **chosen)
        return Columns(**chosen)

    @guarded
    def restore(self, request: gr.Request) -> dict:
        """The pairs that the person had before."""
        kept = self.page.session(request).person.draft
        if not kept:
            return {}
        return self._shown(kept, request) | {self.name: kept.vector_name, self.preset: None, self.upload: None}

    @guarded
    def another_model(self, request: gr.Request, held: Held) -> dict:
        """The pairs looked over for a model that was loaded meanwhile."""
        draft = held.draft
        person = self.page.session(request).person
        kept = person.draft
        # What the page shows as chosen may be of the pairs before, so it is not asked.
        now = draft.for_model(self.studio.model)
        if now is draft or person.draft is not kept:
            return {self.draft: gr.skip()}
        return self._shown(now, request)

    @guarded
    def take(self, held: Held) -> list[list[str]]:
        """The pairs as rows to edit."""
        draft = held.draft
        pairs = draft.pairs.pairs
        if len(pairs) > PREVIEW:
            raise InputError(f"{draft.name} has {len(pairs)} pairs; up to {PREVIEW} can be edited here.")
        if any(pair.negative_prompt for pair in pairs):
            raise InputError("Pairs of two prompts cannot be edited here; edit their file.")
        return [[pair.prompt, pair.positive, pair.negative] for pair in pairs]

    @guarded
    def use_rows(self, request: gr.Request, rows: list[list[str]]) -> dict:
        """Pairs that were typed."""
        typed = pairs_from_rows(rows, "typed pairs")
        draft = Draft.of(self.studio.model, typed.name, replace(typed.table(), format="typed in"))
        return self._shown(draft, request) | {self.preset: None, self.upload: None}

    def _keep(self, draft: Draft, request: gr.Request) -> Held:
        """Keep the pairs as those that a page works on. Returns what its state is to hold."""
        person, page = self.page.session(request).person, request.session_hash or ""
        if draft == self.first:
            person.work_on(page, None, 0)
            return Held(self.first)
        person.work_on(page, draft, draft.size)
        return Held(draft, person, page)

    def _shown(self, draft: Draft, request: gr.Request) -> Updates:
        session = self.page.session(request)
        draft = draft.for_model(self.studio.model)  # another may have been loaded while it was looked over
        held = self._keep(draft, request)
        say_gone(session.person)
        path = session.path(draft.name, ".json")
        if draft.dataset:
            write_pairs(draft.dataset, path)
        return self._drawn(draft, held, path)

    def _drawn(self, draft: Draft, held: Held, path: Path | None = None) -> Updates:
        """Updates that show some pairs. path: where they can be downloaded from."""
        offered = {value for _, value in draft.offers}
        return {
            self.draft: held,
            self.kind: _kind(draft, self.studio),
            self.mends: gr.CheckboxGroup(
                draft.offers, value=[mend for mend in draft.mends if mend in offered], visible=bool(offered)
            ),
            self.columns_box: gr.Accordion(open=draft.columns is None and not draft.unreadable),
            **{part: gr.Dropdown(_fields(draft), value=_chosen(draft)[name]) for name, part in self.columns.items()},
            self.preview: gr.Dataframe(_preview(draft), headers=["#", *_headers(draft)]),
            self.save: gr.DownloadButton(value=str(path) if draft.dataset else None, interactive=bool(draft.dataset)),
        }


def _what_is_needed(held: Held) -> str:
    """The status: where columns are to be chosen. Nothing else, since what it said was said of the pairs before."""
    draft = held.draft
    return CHOOSE if draft.table.fields and not draft.dataset and not draft.unreadable else ""


def _kind(draft: Draft, studio: Studio) -> str:
    """What the pairs were taken for, and what the linter has to say about them."""
    lines = [f"### {plain(draft.name)}"]
    if draft.dataset:
        more = f" The first {PREVIEW} are shown." if len(draft.dataset.pairs) > PREVIEW else ""
        lines += [f"These pairs were read as {plain(draft.dataset.kind)}.{more}"]
    elif draft.problem == READING:
        lines += [READING]
    elif draft.unreadable:
        lines += ["**It cannot be read.**", plain(draft.problem), "Bring another file, or choose a preset."]
    else:
        lines += [f"{plain(draft.table.kind)}. **Not usable yet.**", plain(draft.problem)]
    if now := draft.after:
        letters = [f"{letter} {count}" for letter, count in sorted(now.letters.items())]
        facts = [f"{now.usable} of {now.pairs} pairs are usable"]
        facts += [now.kinds] if "," in now.kinds else []
        facts += [f"matching letters: {', '.join(letters)}"] if letters else []
        lines += ["; ".join(facts) + ".", ""]
        lines += [f"- {plain(str(finding))}" for finding in now.findings]
        found = studio.capability
        if letters and isinstance(found, Capability) and not found.answers_questions:
            lines += [
                f"- The loaded model does not answer A/B questions (answer mass {found.mass:.2f}), so free-text "
                "pairs suit it better."
            ]
        if now.letter_tokens:
            cuts = [f"- {plain(cut)} ({count} pairs)" for cut, count in now.letter_tokens.items()]
            lines += [folded("", "\n".join(cuts), "In which tokens the letter stands")]
    return "\n".join(lines)


def _fields(draft: Draft) -> list[str]:
    return ["", *draft.table.fields[:100]]


def _chosen(draft: Draft) -> dict[str, str]:
    """The chosen columns, by the names of `Columns`."""
    return vars(draft.columns or Columns(""))


def _preview(draft: Draft) -> list[list[Any]]:
    """The pairs, or the table's own fields while it is not known which are pairs."""
    if draft.dataset:
        return [
            [pair.line, *map(_ends, (_prompts(pair), pair.positive, pair.negative))]
            for pair in draft.dataset.pairs[:PREVIEW]
        ]
    return [
        [number, *(_ends(_cell(record.get(field))) for field in _headers(draft))]
        for number, record in draft.table.records[:PREVIEW]
    ]


def _headers(draft: Draft) -> list[str]:
    return HEADERS if draft.dataset or draft.unreadable else draft.table.fields[:4]


def _prompts(pair: Any) -> str:
    return f"{pair.prompt}\n— against —\n{pair.negative_prompt}" if pair.negative_prompt else pair.prompt


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)


def _ends(text: str) -> str:
    """A long text by its two ends: a question's options stand at the end."""
    return text if len(text) <= 2 * END else f"{text[:END]} [...] {text[-END:]}"

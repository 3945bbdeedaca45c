"""Your vectors: look at them, rename, combine, and move them in and out as files."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from caa_core.app.panels.common import (
    LATEST,
    QUIET,
    Updates,
    check_fit,
    going,
    guarded,
    misfits,
    plain,
    vector_choices,
    visible,
)
from caa_core.app.panels.experiment import Asked, Experiment, Plain, Run
from caa_core.app.panels.generate.estimated import EstimatedEffect
from caa_core.app.panels.layout import folded
from caa_core.app.panels.made_with import in_words
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.panels.steer.known import estimate_of
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.vectors import norms_by_layer
from caa_core.vectors import arithmetic
from caa_core.vectors.formats import FORMATS, read_vector, write_vector
from caa_core.vectors.hub import available, pull_vector, push_vector
from caa_core.vectors.known_directions import at_hand
from caa_core.vectors.vector import SteeringVector, load_vector

# A tenth of the relative strength at which the presets are used, which is 0.22 to 0.43.
WEAK = 0.02
FIRST_FORMAT = next(iter(FORMATS))
OFFERED = {**FORMATS, "recipe (JSON)": ".json"}
FILES = (
    "`.safetensors` of CAA Studio, `.gguf` control vectors of llama.cpp and repeng, the CAA repository's "
    "`vec_layer_<L>_<model>.pt`, several at once or in a `.zip`."
)
# What can be made of one vector and a number, and of two vectors.
OF_ONE: dict[str, Callable[[SteeringVector, float], list[SteeringVector]]] = {
    "A × number": lambda a, number: [arithmetic.scale(a, number)],
    "−A": lambda a, _: [arithmetic.negate(a)],
    "A with norm 1": lambda a, _: [arithmetic.normalise(a)],
}
OF_TWO: dict[str, Callable[[SteeringVector, SteeringVector], list[SteeringVector]]] = {
    "A + B": lambda a, b: [arithmetic.add(a, b)],
    "A − B": lambda a, b: [arithmetic.subtract(a, b)],
    "A without its part along B": lambda a, b: [arithmetic.project_off(a, b)],
    "A and B with equal norms": lambda a, b: arithmetic.equal_norms([a, b]),
}


class Vectors:
    """Draws the session's vectors, and tells the page whenever the list changes."""

    def __init__(self, page: Page):
        self.page, self.studio = page, page.studio
        self.pending, self.deleted = gr.State(None), gr.State(None)

    def draw(self) -> None:
        """Draw the list, the chosen vector, and what can be done with it."""
        with gr.Row():
            self.done = gr.Markdown(elem_id="generate-done")
            self.undo = gr.Button("Undo", size="sm", min_width=80, scale=0, visible=False, elem_id="generate-undo")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.before = gr.HTML(elem_id="generate-before", elem_classes="made")
                self.shown = gr.Dropdown([], label="Vector", elem_id="generate-shown", interactive=True, visible=False)
                self.about = gr.Markdown(
                    "None yet. Make one above, or import one.", elem_id="generate-about", elem_classes="papers"
                )
                with gr.Row(visible=False) as self.saving:
                    self.format = gr.Dropdown(
                        list(OFFERED),
                        value=FIRST_FORMAT,
                        label="Format",
                        elem_id="generate-format",
                        min_width=160,
                    )
                    self.download = gr.DownloadButton(
                        "Download", interactive=False, size="md", elem_id="generate-download"
                    )
                self.note = gr.Markdown(elem_id="generate-note")
                self._draw_files()
                self._draw_changes()
            with gr.Column(scale=3, min_width=300, visible=False) as self.drawing:
                self.plot = figure("Strength by layer", "generate-plot", wide=True)
                self.effect = EstimatedEffect()
        self.pickers = [self.a, self.b]
        self.combined = {"a": self.a, "operation": self.operation, "b": self.b, "number": self.number}
        self.parts = [self.before, self.shown, self.about, self.plot, self.format, self.download, self.note]
        self.parts += [self.delete, self.undo, self.saving, self.drawing, *self.effect.parts]

    def _draw_files(self) -> None:
        with gr.Accordion("Import a vector", open=False, elem_id="generate-bring"):
            self.add = gr.File(
                label="A vector's file or files",
                file_types=[".safetensors", ".gguf", ".zip", ".pt"],
                file_count="multiple",
                height=120,
                elem_id="generate-add",
            )
            gr.Markdown(f"<small>{FILES}</small>")
            self.found = gr.Markdown(elem_id="generate-found", elem_classes="papers")
            self.keep = gr.Button("Add it to my vectors", interactive=False, size="sm", elem_id="generate-keep")
        with gr.Accordion("Hugging Face hub", open=False, visible=available()):
            self.repo = gr.Textbox(label="Repository", placeholder="owner/name", elem_id="generate-repo")
            with gr.Row():
                self.push = gr.Button("Push the vector", size="sm")
                self.pull = gr.Button("Look at the repository's vector", size="sm")

    def _draw_changes(self) -> None:
        with gr.Accordion("Combine", open=False, elem_id="generate-combine"):
            choices = vector_choices(Session())
            with gr.Row():
                self.a = gr.Dropdown(choices, value="joy", label="A", elem_id="combine-a", min_width=120)
                self.operation = gr.Dropdown(
                    [*OF_TWO, *OF_ONE],
                    value="A + B",
                    label="Operation",
                    elem_id="combine-operation",
                    min_width=120,
                )
                self.b = gr.Dropdown(choices, value="gloom", label="B", elem_id="combine-b", min_width=120)
                self.number = gr.Number(2, label="Number", visible=False, elem_id="combine-number", min_width=80)
            with gr.Row():
                self.combine = gr.Button("Combine", size="sm", elem_id="combine-make")
                self.stop = gr.Button("Stop", size="sm", variant="stop", min_width=60, elem_id="combine-stop")
        with gr.Accordion("Rename or delete", open=False, elem_id="generate-rename"):
            self.title = gr.Textbox(label="New name", max_length=120, elem_id="generate-title")
            with gr.Row():
                self.rename = gr.Button("Rename", size="sm", elem_id="generate-rename-button")
                self.delete = gr.Button("Delete", size="sm", variant="stop", elem_id="generate-delete")

    def show(self, session: Session, name: str | None, format: str = FIRST_FORMAT) -> dict:
        """Updates that show one of the session's vectors, and offer it in a format."""
        if name not in session.vectors:
            empty = gr.DownloadButton(value=None, interactive=False)
            gone: dict = {self.about: "None left. Make one above, or import one.", self.plot: None, self.note: ""}
            gone |= {self.delete: gr.Button("Delete"), self.undo: gr.update(visible=False), self.before: ""}
            gone |= {part: gr.update(visible=False) for part in (self.saving, self.drawing)}
            there = gr.Dropdown(list(session.vectors), value=None, visible=bool(session.vectors))
            return {self.shown: there, self.download: empty, **gone}
        vector = session.vectors[name]
        path = session.path(name, OFFERED[format])
        notes = write_vector(vector, path)
        return {
            self.before: "",
            self.shown: gr.Dropdown(list(session.vectors), value=name, visible=True),
            self.saving: gr.Row(visible=True),
            self.drawing: gr.Column(visible=True),
            self.about: about(vector, misfits(self.studio.model, vector)),
            self.plot: norms_by_layer(vector, at_hand(self.studio.model)),
            self.format: format,
            self.download: gr.DownloadButton(value=str(path), interactive=True),
            self.note: " ".join(map(plain, notes)),
            # What is chosen may be far above.
            self.delete: gr.Button(f"Delete {visible(name)[:40]}"),
            self.undo: gr.update(visible=False),
            **self.effect.show(estimate_of(session, self.studio.model, vector)),
        }

    def show_ready(self, vector: SteeringVector, said: str) -> Updates:
        """Updates that show a vector that is nobody's, and what is said of it."""
        drawn = {self.drawing: gr.Column(visible=True), self.plot: norms_by_layer(vector, at_hand(self.studio.model))}
        return {self.before: said, self.about: about(vector, []), **drawn}

    def wire(self) -> None:
        """Let it work."""
        panel = [*self.parts, self.done, self.page.vectors]
        bring = [self.pending, self.found, self.keep]
        gr.on([self.shown.input, self.format.input], self.select, [self.shown, self.format], panel, **LATEST)
        self.page.restore(self.restore, [*self.parts, self.done])
        self.add.change(self.look, self.add, [*bring, self.add], **LATEST)
        self.keep.click(self.keep_found, [self.pending, self.page.vectors], [*panel, *bring, self.add], **QUIET)
        self.push.click(self.push_chosen, [self.shown, self.repo], self.done, **QUIET)
        self.pull.click(self.look_at_hub, self.repo, bring, **QUIET)
        self.operation.input(
            lambda chosen: (gr.Dropdown(visible=chosen in OF_TWO), gr.Number(visible=chosen == "A × number")),
            self.operation,
            [self.b, self.number],
            **LATEST,
        )
        self.rename.click(self.rename_chosen, [self.shown, self.title, self.page.vectors], panel, **QUIET)
        self.delete.click(self.delete_chosen, [self.shown, self.page.vectors], [*panel, self.deleted], **QUIET)
        self.undo.click(self.bring_back, [self.deleted, self.page.vectors], [*panel, self.deleted], **QUIET)

    @guarded
    def select(self, request: gr.Request, name: str | None, format: str) -> dict:
        """Show the vector that was chosen."""
        updates = self.show(self.page.session(request), name, format)
        updates.pop(self.undo, None)
        # What was chosen meanwhile stays chosen.
        return {part: update for part, update in updates.items() if part not in (self.shown, self.format)}

    @guarded
    def restore(self, request: gr.Request) -> dict:
        """The vectors that the person had before a reload."""
        person = self.page.session(request).person
        told = {self.done: "  \n".join(map(plain, person.library.notes))} if person.library else {}
        if not person.vectors:
            return told
        return self.show(self.page.session(request), next(reversed(person.vectors))) | told

    @guarded
    def look(self, request: gr.Request, paths: list[str] | None) -> dict:
        """What a file says of itself, before it is taken."""
        if not paths:
            return {self.keep: gr.skip()}
        self.page.session(request)  # for whom it is read
        # A file that could not be read leaves its place to the next one.
        return {**self._previewed(lambda: read_vector(*map(Path, paths))), self.add: None}

    @guarded
    def look_at_hub(self, repo: str) -> dict:
        """The same of a repository on the hub."""
        return self._previewed(lambda: pull_vector(repo.strip()))

    def _previewed(self, read: Callable[[], SteeringVector]) -> dict:
        """What is read takes the place of what was looked at before, and so does what is wrong with it."""
        try:
            vector = read()
            check_fit(self.studio.model, vector)
        except InputError as error:
            said = f"**It cannot be read.** {plain(str(error))}"
            return {self.pending: None, self.found: said, self.keep: gr.Button(interactive=False)}
        said = "Before it is used: this is what the file says.\n\n"
        told = said + about(vector, misfits(self.studio.model, vector))
        return {self.pending: vector, self.found: told, self.keep: gr.Button(interactive=True)}

    @guarded
    def keep_found(self, request: gr.Request, vector: SteeringVector | None, count: int) -> dict:
        """Take what was looked at."""
        if vector is None:
            raise InputError("There is no vector to add yet; choose a file first.")
        session = self.page.session(request)
        name = session.keep(vector)
        updates = self.show(session, name) | {self.page.vectors: count + 1}
        cleared = {self.pending: None, self.found: "", self.add: None, self.keep: gr.Button(interactive=False)}
        return updates | cleared | {self.done: f"Loaded **{plain(name)}**."}

    @guarded
    def push_chosen(self, name: str | None, repo: str, request: gr.Request) -> dict:
        """Push the chosen vector to the hub."""
        vector = self._chosen(self.page.session(request), name)
        return {self.done: f"Pushed to {plain(push_vector(vector, repo.strip()))}."}

    @guarded
    def rename_chosen(self, request: gr.Request, name: str | None, title: str, count: int) -> dict:
        """Give the chosen vector another name."""
        session = self.page.session(request)
        new = session.person.rename(self._chosen(session, name).name, title)
        return self.show(session, new) | {
            self.page.vectors: count + 1,
            self.done: f"It is called **{plain(new)}** now.",
        }

    @guarded
    def delete_chosen(self, request: gr.Request, name: str | None, count: int) -> dict:
        """Delete the chosen vector."""
        session = self.page.session(request)
        old = self._chosen(session, name).name
        vector = session.person.delete(old)
        rest = next(reversed(session.vectors), None)
        gone = {self.page.vectors: count + 1, self.done: f"Deleted **{plain(old)}**."}
        return self.show(session, rest) | gone | {self.deleted: vector, self.undo: gr.update(visible=True)}

    @guarded
    def bring_back(self, request: gr.Request, vector: SteeringVector | None, count: int) -> dict:
        """The vector that was deleted last, under its name."""
        if vector is None:
            raise InputError("There is nothing to bring back.")
        session = self.page.session(request)
        name = session.keep(vector)
        there = {self.page.vectors: count + 1, self.done: f"**{plain(name)}** is back."}
        return self.show(session, name) | there | {self.deleted: None}

    def _chosen(self, session: Session, name: str | None) -> SteeringVector:
        if name not in session.vectors:
            raise InputError("Choose one of your vectors first.")
        return session.vectors[name]


class VectorMaking(Experiment[Asked]):
    """Makes vectors, which the list then shows: they are what is kept, with papers of their own. `work` returns them as
    "vectors".
    """

    says_settings = False

    def __init__(
        self,
        page: Page,
        vectors: Vectors,
        form: Mapping[str, Component],
        starters: Sequence[gr.Button],
        stop: gr.Button,
        status: gr.Markdown,
        more: Sequence[Block] = (),
    ):
        """more: what else `show` writes to."""
        self.vectors = vectors
        form = {**form, "count": page.vectors}
        super().__init__(page, form, starters, stop, status, [*vectors.parts, page.vectors, *more])

    def keep(self, run: Run[Asked], found: Plain) -> Plain:
        return {**found, "names": [run.session.keep(vector) for vector in found["vectors"]]}

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return {**self.vectors.show(session, kept["names"][-1]), self.page.vectors: form["count"] + 1}

    def show_ready(self, session: Session, before: Plain) -> Updates:
        """What was made before is a preset's vector."""
        if session.vectors:
            return {}
        said = in_words(self.form, before["asked"], before["asked"])
        return self.vectors.show_ready(load_vector(presets()[before["vector"]].vector_file), said)


@dataclass(frozen=True)
class Combination:
    """An operation on one vector or two, by their names, and a number where it takes one."""

    operation: str
    a: str
    b: str
    number: float


class Combining(VectorMaking[Combination]):
    """Makes what an operation makes of one vector or two."""

    name = "generate-combine"

    def ask(self, session: Session, form: Mapping[str, Any]) -> Combination:
        return Combination(form["operation"], form["a"], form["b"], float(form["number"] or 0))

    def work(
        self, model: SteerableModel, session: Session, asked: Combination, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        a = yield from self.studio.vector(model, session, asked.a)
        if asked.operation in OF_ONE:
            return {"vectors": OF_ONE[asked.operation](a, asked.number)}
        b = yield from self.studio.vector(model, session, asked.b)
        return {"vectors": OF_TWO[asked.operation](a, b)}

    def how_far(self, progress: Progress) -> str:
        return going("Making a vector that was not used yet", progress)

    def ended(self, run: Run[Combination], stopped: bool) -> str:
        if run.found is None:
            return "Stopped. Nothing was made."
        return f"Made {' and '.join(f'**{plain(name)}**' for name in run.found['names'])}."


def about(vector: SteeringVector, notes: list[str]) -> str:
    """What a vector's papers say, as Markdown."""
    was = vector.provenance
    shares = sorted(vector.letter_share.values())
    facts = {
        "made on": was.model,
        "made from": f"{was.num_pairs} pairs of {was.dataset}" if was.num_pairs else was.dataset,
        "method": was.method,
        "read at": was.read_position,
        "layers": spans(vector.layers).split(" ", 1)[1],
        "hidden size": str(vector.hidden_size),
        "operations": was.operations,
        "made with": was.created_with,
        "letter": f"in the given order alone it would have been {shares[len(shares) // 2]:.0%} of ‖v‖² (median layer)"
        if shares
        else "",
    }
    lines = [f"**{plain(vector.name)}**", ""]
    lines += [f"- {label}: {plain(fact)}" for label, fact in facts.items() if fact]
    if told := vector.diagnostics:
        numbers = plain(told.numbers)
        lines += [f"\n{plain(part)}" for part in (told.said, *told.parts)]
        lines += [f"\n{folded('', numbers, 'In numbers')}"] if numbers else []
    known = map(vector.relative_strength, vector.layers)
    strengths = [strength for strength in known if strength is not None]
    if strengths and max(strengths) < WEAK:
        lines.append(
            f"\nIt is weak: at × 1 its relative strength is {max(strengths):.3f} at most; "
            "the presets are used at 0.2 to 0.4."
        )
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])

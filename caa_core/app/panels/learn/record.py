"""What is kept of a person in a lesson: the step, predictions, what came out of each step's run; plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from caa_core.app.opening.ready import MADE_BEFORE, ready
from caa_core.app.panels.learn.lesson import Lesson, Step, built_in, lesson_of
from caa_core.app.panels.learn.readings import Reading
from caa_core.app.sessions import Person, Session
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel

NAME = "learn"
# Lessons whose predictions are kept.
MOST = 4


@dataclass(frozen=True)
class Outcome:
    """What came out of a step's run, and whether it was the person's own; `made` says on what one made before was."""

    outcome: str
    said: str
    own: bool
    made: str = ""


@dataclass
class Record:
    """Of one lesson. predictions: which choice of each step was predicted; outcomes: what came out; by step, from 0."""

    step: int = 0
    predictions: dict[int, int] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @classmethod
    def of(cls, lesson: Lesson, kept: Mapping[str, Any]) -> "Record":
        """What was kept, as far as it fits the lesson."""
        steps = range(len(lesson.steps))
        predictions = {int(step): int(choice) for step, choice in kept["predictions"].items()}
        outcomes = {int(step): Outcome(**found) for step, found in kept["outcomes"].items()}
        return cls(
            min(max(int(kept["step"]), 0), steps[-1]),
            {n: c for n, c in predictions.items() if n in steps and c in range(len(lesson.steps[n].choices))},
            {n: found for n, found in outcomes.items() if n in steps and found.outcome in lesson.steps[n].how.outcomes},
        )

    @property
    def kept(self) -> dict[str, Any]:
        """As plain data."""
        outcomes = {str(step): asdict(found) for step, found in self.outcomes.items()}
        return {
            "step": self.step,
            "predictions": {str(n): c for n, c in self.predictions.items()},
            "outcomes": outcomes,
        }

    def came_true(self, lesson: Lesson, step: int) -> bool | None:
        """Whether the prediction of a step came true; None where that is not known."""
        if step not in self.predictions or step not in self.outcomes:
            return None
        return lesson.steps[step].choices[self.predictions[step]].when == self.outcomes[step].outcome


def lesson_in(session: Session) -> Lesson:
    """The class's where somebody is in one, else their own."""
    room = session.classroom
    return (room.rules.lesson or built_in()) if room else lesson_of_person(session.person)


def lesson_of_person(person: Person) -> Lesson:
    """The one that was loaded last, else the one that ships."""
    own = _all_of(person).get("own")
    try:
        return lesson_of(own) if own else built_in()
    except InputError:  # it was written for other checks
        return built_in()


def record_of(person: Person, lesson: Lesson) -> Record:
    """What is kept of a lesson; a new record where there is none, or it cannot be read."""
    try:
        return Record.of(lesson, _all_of(person)["records"][lesson.key])
    except (KeyError, TypeError, ValueError, AttributeError):
        return Record()


def keep(session: Session, lesson: Lesson, record: Record) -> None:
    """Keep the record of the lesson that is gone through now. A class's is not one's own after it."""
    person, in_class = session.person, bool(session.classroom)
    before = _all_of(person)
    records = {key: one for key, one in (before.get("records") or {}).items() if key != lesson.key}
    records = dict([*records.items(), (lesson.key, record.kept)][-MOST:])
    own = before.get("own") if in_class else None if lesson.key == built_in().key else dict(lesson.data)
    now = {"own": own, "records": records}
    if now != before:
        person.remember(NAME, now)


def look(person: Person, model: SteerableModel, step: Step) -> tuple[Outcome | None, str]:
    """What came out of a step's run: of the person's own, else of one that was made before. None where there is
    neither, or it does not tell; then it is said why.
    """
    how, said = step.how, ""
    own = person.results.get(how.experiment)
    if isinstance(own, dict):
        if not how.differs(own, step.settings):
            found = how.reading(own)
            return _outcome(found, own=True), "" if found.outcome else found.said
        said = "Your latest run there is of something else; fill in this step's settings and run it."
    for name in (how.experiment, f"lesson-{step.check}"):
        before = ready(name, model)
        if before and not how.differs(before, step.settings):
            was = before["asked"][MADE_BEFORE]
            return _outcome(how.reading(before), own=False, made=f"{was['model']} in {was['dtype']}"), said
    return None, said


def _outcome(found: Reading, own: bool, made: str = "") -> Outcome | None:
    return Outcome(found.outcome, found.said, own, made) if found.outcome else None


def _all_of(person: Person) -> dict[str, Any]:
    kept = person.results.get(NAME)
    return kept if isinstance(kept, dict) else {}

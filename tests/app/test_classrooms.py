"""Classes without a page: who is counted, what a key opens, and that nothing of one is left."""

import gc

import pytest

from caa_core.app.keys.classrooms import PEOPLE, Classrooms, Part, Rules
from caa_core.app.keys.tries import Tries
from caa_core.app.sessions import Person, Session
from caa_core.errors import InputError
from caa_core.limits import TOKENS, lowered

KEY = "a long key"


@pytest.fixture
def classes(clock):
    return Classrooms(clock)


def rules(code="ocean", **more):
    return Rules("Steering", code, ("joy", "gloom"), **more)


def test_each_is_counted_once_and_has_no_name(classes):
    room, people = classes.open(rules(), KEY), [Person() for _ in range(3)]
    for person in people:
        room.join(person)
        room.join(person)
    room.note(people[1], Part(2, {0: 1}, {0: ("changed", True)}))
    assert sorted(part.step for part in room.parts) == [0, 0, 2]
    # Who has gone stays counted, and nothing leads back to them.
    del people, person
    gc.collect()
    assert len(room.parts) == 3 and not [*room._numbers]
    assert not any(isinstance(one, Person) for one in gc.get_referents(room._parts, *room._parts.values()))


def test_so_many_are_counted_and_no_more(classes):
    room = classes.open(rules(), KEY)
    people = [Person() for _ in range(PEOPLE + 3)]
    for person in people:
        room.join(person)
    room.note(people[0], Part(1))  # who is counted already goes on
    assert len(room.parts) == PEOPLE and max(part.step for part in room.parts) == 1


def test_a_key_opens_its_class_alone_and_wrong_ones_wait(classes, clock):
    room, other = classes.open(rules(), KEY), classes.open(rules("lake"), "another key")
    teacher = Person()
    for code, key in (("ocean", "another key"), ("lake", KEY), ("river", ""), ("river", KEY), ("ocean", "\ud800")):
        with pytest.raises(InputError, match="There is no class with this code and this key"):
            classes.behind(code, key, "school", teacher)
        with pytest.raises(InputError, match="Too many wrong keys"):
            classes.behind("ocean", KEY, "school", teacher)
        clock.pass_(60)
    assert classes.taught_by(teacher) is None
    assert classes.behind(" OCEAN ", KEY, "school", teacher) is room is classes.taught_by(teacher)
    assert classes.behind("lake", "another key", "school", teacher) is other is classes.taught_by(teacher)


def test_the_owner_does_not_wait_for_who_tries_keys_of_classes(classes, clock, monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    monkeypatch.setenv("CAA_OWNER_KEY", KEY)
    owner = Tries(clock)
    with pytest.raises(InputError):
        classes.behind("ocean", "guess", "school", Person())
    owner.check(KEY, "school")


@pytest.mark.parametrize("ends", ["by its teacher", "by its time"])
def test_nothing_is_left_of_a_class_that_is_over(classes, clock, ends):
    room, session = classes.open(rules(hours=2.0, limits={TOKENS.variable: 60}), KEY), Session()
    session.joined = room
    room.join(session.person)
    assert session.classroom is room and session.limits == {TOKENS.variable: 60}
    if ends == "by its teacher":
        classes.end(room)
    clock.pass_(2 * 3600)
    assert classes.find("ocean") is None and not classes.held
    room.note(session.person, Part(1))  # what comes late is not kept
    assert room.parts == [] and session.classroom is None and not session.limits
    classes.open(rules(), KEY)  # its code is free again


def test_rules_are_not_for_teachers(classes):
    room, session = classes.open(rules(), KEY), Session()
    session.joined = room
    classes.behind("ocean", KEY, "", session.person)
    room.join(session.person)
    assert session.classroom is None and room.parts == []


def test_codes_and_classes_for_everybody_are_one_at_a_time(classes):
    classes.open(rules(everybody=True), KEY)
    with pytest.raises(InputError, match="There is a class with the code ocean already"):
        classes.open(rules(), KEY)
    with pytest.raises(InputError, match="a class for everybody already"):
        classes.open(rules("lake", everybody=True), KEY)


def test_a_class_keeps_its_model(classes):
    classes.check_model("gpt2")
    room = classes.open(rules(model="smollm2-135m"), KEY)
    classes.check_model("smollm2-135m")
    with pytest.raises(InputError, match="A class is held with the model smollm2-135m"):
        classes.check_model("gpt2")
    classes.end(room)
    classes.check_model("gpt2")


def test_limits_are_lowered_for_who_asks_and_never_raised(monkeypatch):
    monkeypatch.setenv("CAA_MAX_TOKENS", "100")
    token = lowered.set({TOKENS.variable: 60})
    assert TOKENS.value == 60
    lowered.set({TOKENS.variable: 600})
    assert TOKENS.value == 100
    lowered.reset(token)
    assert TOKENS.value == 100

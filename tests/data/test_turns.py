"""Who reads next."""

import threading

import pytest

from caa_core.data.turns import Turns, asking
from tests.helpers.waiting import until


def test_so_many_at_once_and_who_has_fewest_at_work_is_next():
    turns, came, ends = Turns(2), [], {}

    def read(name, whose):
        asking.set(whose)
        with turns():
            came.append(name)
            assert ends[name].wait(300)

    def begin(name, whose):
        ends[name] = threading.Event()
        threading.Thread(target=read, args=(name, whose), daemon=True).start()
        until(lambda: len(turns._waiting) + len(came) == len(ends))

    for number in range(4):
        begin(f"flood {number}", "stranger")
    begin("one", "somebody")
    assert came == ["flood 0", "flood 1"]
    ends["flood 0"].set()
    until(lambda: len(came) == 3)
    ends["one"].set()
    until(lambda: len(came) == 4)
    ends["flood 1"].set()
    until(lambda: len(came) == 5)
    assert came[2:] == ["one", "flood 2", "flood 3"]
    for end in ends.values():
        end.set()


def test_a_turn_ends_with_an_error():
    turns = Turns(1)
    for _ in range(2):
        with pytest.raises(ValueError), turns():
            raise ValueError

import threading

import pytest

from caa_core.errors import InputError
from caa_core.progress import Progress, finish, growing, in_stages, listen, sizes_below, tell


def test_time_left_counts_only_what_this_run_did(monkeypatch):
    progress = Progress.of_bytes(10_000_000, resumed=5_000_000)
    assert (progress.done, progress.total, progress.fraction) == (5, 10, 0.5)
    assert progress.seconds_left is None and str(progress) == "5 of 10 MB"
    monkeypatch.setattr("time.monotonic", lambda: progress.started + 10)
    progress.reach(7_500_000)
    assert progress.seconds_left == 10
    assert str(progress) == "7 of 10 MB, about 10 s left"
    assert progress.reach(99_000_000).fraction == 1.0 and progress.done == 10


def test_time_left_is_never_0_while_work_remains(monkeypatch):
    progress = Progress(43, "pairs", 1000)
    monkeypatch.setattr("time.monotonic", lambda: progress.started + 1)
    assert str(progress.advance(43, 999)) == "43 of 43 pairs, about 1 s left"
    assert str(progress.advance(0, 1)) == "43 of 43 pairs"


def test_work_in_stages_says_how_far_all_of_it_is(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def work():
        pairs = Progress(10, "pairs", 10)
        for _ in range(2):
            now[0] += 5
            yield pairs.advance(5, 5)
        yield "a part"
        for _again in range(2):  # two stages that count the same
            scored = Progress(4, "items scored", 4)
            for _ in range(4):
                now[0] += 20
                yield scored.advance(1, 1)
        return "all"

    said, parts = [], []
    plan = [("pairs", 10.0), ("layers fitted", 0.0), ("items scored", 80.0), ("items scored", 80.0)]

    def note(event):
        (said if isinstance(event, Progress) else parts).append((str(event), getattr(event, "fraction", 0)))

    assert finish(in_stages(work(), plan), note) == "all" and parts == [("a part", 0)]
    shares = [share for _, share in said]
    assert shares == sorted(shares) and shares[-1] < 1
    assert said[1][0] == "5%: 10 of 10 pairs, about 160 s left"
    # Its own pace counts for the rest of a stage.
    assert said[3][0] == "29%: 2 of 4 items scored, about 120 s left"
    assert said[6] == ("64%: 1 of 4 items scored, about 60 s left", pytest.approx(110 / 170))
    assert "about 1 s left" in said[-1][0]


def test_what_an_earlier_run_did_says_nothing_about_the_time_that_is_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def work():
        cells = Progress(4, "cells", 4, done=2, cost=2, resumed=2)
        yield cells
        now[0] += 10
        yield cells.advance(1, 1)

    said = []
    finish(in_stages(work(), [("cells", 40.0), ("gradients", 10.0)]), lambda event: said.append(str(event)))
    assert said == ["40%: 2 of 4 cells", "60%: 3 of 4 cells, about 20 s left"]


def test_work_elsewhere_is_heard_and_its_errors_too():
    def work(say):
        say("one")
        say(Progress.of_bytes(1))
        raise InputError("no")

    heard = []
    with pytest.raises(InputError, match="no"):
        heard.extend(listen(work))
    said = listen(work)
    assert next(said) == "one" and isinstance(next(said), Progress)
    assert list(listen(lambda say: say("only"))) == ["only"]


def test_work_goes_on_when_nobody_listens():
    left, done = threading.Event(), threading.Event()

    def work(say):
        say("begun")
        assert left.wait(60)
        say("to nobody")
        done.set()

    said = listen(work)
    next(said)
    said.close()
    left.set()
    assert done.wait(60)


def test_growing_files_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("caa_core.progress.SECONDS_BETWEEN_LOOKS", 0.001)
    looked, said = threading.Event(), []

    def work():
        for _ in range(4):
            with (tmp_path / "file").open("ab") as file:
                file.write(b"x" * 1_000_000)
            looked.clear()
            assert looked.wait(60)
        return "result"

    def say(progress):
        said.append(progress.done)
        looked.set()

    progress = Progress.of_bytes(4_000_000)
    assert growing(work, lambda: sum(sizes_below(tmp_path)), progress, say) == "result"
    assert said == sorted(said) and {1, 2, 3} <= set(said) and said[-1] == 3
    with pytest.raises(ZeroDivisionError):
        growing(lambda: 1 / 0, lambda: 0, progress, print)
    assert sizes_below(tmp_path / "nowhere") == []


def test_what_is_told_goes_to_standard_error_once(capsys):
    progress = Progress(2, "pairs", 2, note="a note")
    tell("begin")
    for _ in range(2):
        tell(progress.advance(1, 1))
    assert capsys.readouterr() == ("", "begin\n2 of 2 pairs\na note\n")


def test_finish_gives_the_result_and_every_event():
    def work():
        yield 1
        yield 2
        return 3

    events = []
    assert finish(work(), events.append) == 3 and events == [1, 2]

import re
import threading

import pytest

from caa_core import limits
from caa_core.errors import InputError
from caa_core.limits import PAIRS, TOKENS, Limit, Turns, asking, check_owner, is_public
from tests.helpers.places import ROOT
from tests.helpers.waiting import until

LIMITS = [one for one in vars(limits).values() if isinstance(one, Limit)]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("CAA_PUBLIC", "SPACE_ID", "CAA_OWNER_KEY", *(limit.variable for limit in LIMITS)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("said", "space", "public"),
    [("", "", False), ("0", "", False), ("1", "", True), ("", "me/space", True), ("0", "me/space", False)],
)
def test_a_space_is_public_unless_said_otherwise(monkeypatch, said, space, public):
    monkeypatch.setenv("CAA_PUBLIC", said)
    monkeypatch.setenv("SPACE_ID", space)
    assert is_public() == public


def test_limits_are_stricter_for_strangers_and_can_be_set(monkeypatch):
    alone = [limit.value for limit in LIMITS]
    monkeypatch.setenv("CAA_PUBLIC", "1")
    assert all(limit.value <= before for limit, before in zip(LIMITS, alone, strict=True))
    PAIRS.check(2_000)
    with pytest.raises(InputError, match="2,001 contrast pairs at once are too many; this app takes 2,000 at most"):
        PAIRS.check(2_001)
    monkeypatch.setenv("CAA_MAX_PAIRS", "7")
    assert PAIRS.value == 7


@pytest.mark.parametrize("said", ["many", "-1", "1.5", "1e3", "²", "9" * 30])
def test_a_setting_that_is_no_number_is_said(monkeypatch, said):
    monkeypatch.setenv("CAA_MAX_TOKENS", said)
    with pytest.raises(InputError, match="CAA_MAX_TOKENS must be a whole number"):
        TOKENS.check(1)


def test_only_the_owner_loads_a_model_of_a_public_app(monkeypatch):
    check_owner("")  # nobody's key is asked for where the app is one's own
    monkeypatch.setenv("CAA_PUBLIC", "1")
    for key in ("", "guess"):
        with pytest.raises(InputError, match="only its owner"):
            check_owner(key)
    monkeypatch.setenv("CAA_OWNER_KEY", "correct horse")
    check_owner("correct horse")
    for key in ("", "correct", "correct horse ", "\ud800"):
        with pytest.raises(InputError, match="only its owner"):
            check_owner(key)


def test_the_readme_lists_every_limit():
    rows = re.findall(r"^\| `(CAA_\w+)` \| ([^|]+) \| ([\d,]+) \| ([\d,]+) \|$", (ROOT / "README.md").read_text(), re.M)
    assert rows == [(limit.variable, limit.what, f"{limit.alone:,}", f"{limit.public:,}") for limit in LIMITS]


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

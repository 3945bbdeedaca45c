import re
from dataclasses import replace

import pytest

from caa_core.contest.dominance import Apart, Contest
from caa_core.contest.speaking import VoiceGrade
from caa_core.reports.contest import gauge, how_much, in_brief, report_of, table_of, voices_apart
from tests.helpers import results
from tests.helpers.results import files


def test_a_contest_is_reported_with_what_is_beside_it(tmp_path):
    found = results.contest() | {"surface": results.surface(), "token_by_token": results.tokens()}
    found |= {"written": results.written(), **{name: results.thinking()[name] for name in ("arms", "thinking")}}
    told, rows, page = files(report_of(found), tmp_path)
    assert told["kl"][1] is None and told["surface"]["kind"] == "multipliers"
    assert len(rows) == 3 and rows[0]["prompt"] == "'=1+1"
    titles = ("Verdict", "Each voice alone, and both", "Item by item", "Surface", "Token by token")
    titles += ("Which voice written answers follow", "All answers", "Can it reason its way to one voice?", "Thoughts")
    places = [page.index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert "written answers" in page.split("<h2>Settings</h2>")[1] and "Self-test" in page
    text = report_of(found).text
    first, wrong_a, wrong_b, surface, written, *_ = text.splitlines()
    assert (first, surface) == ("The model follows joy.", "1 of joy weighs 3.") and written.startswith("unsteered: ")
    assert wrong_a.startswith("Pushed the wrong way by joy alone: 0.25 of 8 prompts that move (95% interval ")
    assert wrong_b.endswith("none, since no prompt moves by more than rounding; 3 more do not move.")
    assert "It cannot." in text


def test_a_contest_by_itself_has_no_other_parts(tmp_path):
    page = files(report_of(results.contest()), tmp_path)[2]
    assert "Surface" not in page and "Thoughts" not in page and "&lt;script&gt;" in page


def test_the_table_has_controls_beside_each_voice():
    unsteered, a, b, both = table_of(Contest.of(results.contest()))
    assert unsteered == ["unsteered", *[""] * 7, "0%"]
    beside = ["+0.45", "-0.50 to +0.50", "-0.10 to +0.10", "0.002"]
    wrong = "0.25 (0.10 to 0.50); to first order 0.25, controls 0.10 to 0.90"
    assert a == ["joy", "+0.50 (+0.40 to +0.60)", *beside, wrong, "0.50", "50%"]
    assert b[2:8] == ["", "", "", "0.04", "none moves", "not known"] and both[2:7] == [""] * 5
    found = Contest.of(results.contest())
    unknown = replace(found, alone_a=replace(found.alone_a, shuffled=None))
    assert table_of(unknown)[1][3:5] == ["-0.50 to +0.50", "pairs not known"]


def test_both_stand_beside_what_adding_the_voices_predicts():
    figure = voices_apart(Contest.of(results.contest()))
    assert [trace.x[0] for trace in figure.data] == pytest.approx([0.5, -1, 0.5, -0.5])
    assert list(figure.data[0].error_x.array) == pytest.approx([0.1])
    assert not any("<script" in trace.name for trace in figure.data)


def shares(drawn, what):
    """Where marks of a gauge begin, or end, in percent of its width."""
    return [
        float(found)
        for found in re.findall(rf'class="{what}" style="left:([\d.]+)%(?:;right:([\d.]+)%)?', drawn)[0]
        if found
    ]


def test_the_gauge_goes_from_a_over_neither_to_b():
    found = replace(Contest.of(results.contest()), prompts=8)
    drawn = gauge(found)
    assert re.findall(r"<span style=[^>]*>([^<]*)</span>", drawn) == [
        "joy alone",
        "neither",
        "&lt;script&gt;alert(1)&lt;/script&gt; alone",
    ]
    # 1.15 to either side: D = 0.5 (0.4 to 0.6) lies left of the middle, where A is.
    assert shares(drawn, "found") == shares(drawn, "added") == [pytest.approx(50 - 50 * 0.5 / 1.15, abs=0.06)]
    assert shares(drawn, "interval") == pytest.approx([50 - 50 * 0.6 / 1.15, 50 + 50 * 0.4 / 1.15], abs=0.06)
    assert "both at once: D = +0.50 (+0.40 to +0.60)" in drawn and "adding the two predicts +0.50" in drawn
    (told,) = re.findall('role="img" aria-label="([^"]*)"', drawn)
    assert told.startswith(
        "The model follows joy when both voices speak at once. D = +0.50 (+0.40 to +0.60), where 1 is"
    )
    far = gauge(replace(found, dominance=results.around(-4.0, 1.0)))
    assert shares(far, "found") == [pytest.approx(50 + 50 * 4 / 5.05, abs=0.06)] and shares(far, "interval")[1] > 0


def test_a_gauge_marks_nothing_that_is_not_there():
    alone = gauge(Contest.of(results.contest(results.ALONE)))
    assert 'class="interval"' not in alone and 'class="found"' in alone
    nothing = gauge(replace(Contest.of(results.contest()), contest=False))
    assert "Nothing is marked: that takes two voices" in nothing.partition('class="key"')[2]
    assert "caa-gauge none" in nothing and not any(
        f'class="{what}"' in nothing for what in ("found", "interval", "added")
    )


def test_contests_are_sorted_by_how_much_of_one_they_are_and_say_what_came_of_them():
    ahead = replace(Contest.of(results.contest()), b="gloom")
    louder = replace(ahead, delta_a=results.around(0.9), ahead=results.around(0.0), ahead_p=0.7)
    silent = VoiceGrade("none shown", 0, "controls", 0.5)
    one = replace(ahead, contest=False, delta_a=results.around(5.0), delta_b=results.around(-5.0), voice_b=silent)
    none = replace(one, voice_a=silent, delta_a=results.around(0.1))
    assert sorted([none, one, ahead, louder], key=how_much, reverse=True) == [louder, ahead, one, none]
    open_ = replace(none, voice_a=replace(silent, grade="not decided"))
    said = ["neither ahead", "joy ahead", "only joy is heard", "neither is heard", "not decided"]
    assert [in_brief(found) for found in (louder, ahead, one, none, open_)] == said
    begun = [replace(found, prompts=8).headline.partition(": ")[0] for found in (none, open_)]
    assert begun == ["No contest", "Not decided"]


def test_what_sets_them_apart_stands_below_the_sum():
    found = replace(Contest.of(results.contest()), apart_a=Apart(results.around(0.3), 0.125))
    assert table_of(found)[4:] == [["joy less what both share", "+0.30 (+0.20 to +0.40)", *[""] * 5, "0.12", ""]]

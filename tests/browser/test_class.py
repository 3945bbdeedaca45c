"""A class in Chromium: its link opens its lesson and stays in the address, and its teacher sees who comes."""

import pytest
from playwright.sync_api import expect

from caa_core.app.panels.learn.class_file import class_of
from tests.helpers.browser import drawn, fill, tab

pytestmark = pytest.mark.browser

GIVEN = {"format": "caa-class", "version": 1, "title": "Ours", "code": "ocean", "key": "a long key"}


@pytest.fixture
def room(tiny_app):
    room = tiny_app.studio.hold(*class_of({**GIVEN, "free_prompts": False}))
    yield room
    tiny_app.studio.classes.end(room)


def test_a_link_leads_into_the_class_and_its_teacher_sees_who_has_come(visits, tiny_app, room):
    teacher = visits(tiny_app)
    tab(teacher, "Class")
    fill(teacher.locator("#class-code input, #class-code textarea").first, "Ocean")
    fill(teacher.locator("#class-key input").first, "a long key")
    teacher.locator("#class-show").click()
    expect(teacher.locator("#class-counts")).to_contain_text("0 in the class")

    pupil = visits(tiny_app, query="?class=ocean")
    pupil.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(pupil.locator("#class-line")).to_contain_text("Ours")
    expect(pupil.locator("#learn-text")).to_contain_text("1. Residual stream")
    expect(pupil).to_have_url(f"{tiny_app.url}?class=ocean")
    drawn(pupil)
    pupil.locator("#learn-choice label").first.click()
    pupil.locator("#learn-predict").click()
    expect(teacher.locator("#class-counts")).to_contain_text("1 have predicted")
    expect(teacher.locator("#class-board section").first).to_contain_text("1 here")

    tab(pupil, "Steer")
    expect(pupil).to_have_url(f"{tiny_app.url}?class=ocean&tab=steer")
    expect(pupil.locator("#steer-prompt textarea")).to_be_disabled()
    pupil.locator(".suggestions").get_by_text("What do you think of rain?").click()
    expect(pupil.locator("#steer-prompt textarea")).to_have_value("What do you think of rain?")
    pupil.locator("#steer-link").click()
    expect(pupil.locator("#link-said")).to_contain_text("Link copied")
    assert pupil.evaluate("() => navigator.clipboard.readText()").endswith("&class=ocean")
    pupil.go_back()
    expect(pupil.locator("#learn-result")).to_contain_text("You predicted")

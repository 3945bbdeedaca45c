"""What a person does on the page, in Chromium."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, Request, expect

from tests.helpers.waiting import until

# In milliseconds. For what hangs, not for what is slow.
LONG = 300_000


def drawn(page: Page) -> None:
    """Wait until the page is at rest: through three frames it had nothing to do or to mend, and changed nothing."""
    page.evaluate(
        """() => new Promise((done) => {
            let quiet = 0, over = false;
            // A browser that has nothing to draw may not say that it is idle.
            const draw = () => { if (!over) requestAnimationFrame(draw); };
            const seen = new MutationObserver(() => { quiet = 0; });
            seen.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
            const look = () => {
                if (++quiet > 3 && !window.mending) { over = true; seen.disconnect(); done(); }
                else requestAnimationFrame(() => requestIdleCallback(look));
            };
            draw();
            look();
        })"""
    )


def note_session(request: Request) -> None:
    """Note by which name the app knows the page, whenever it asks for something."""
    if "queue/join" in request.url:
        request.frame.page.session = request.post_data_json["session_hash"]


def settled(page: Page) -> None:
    """Wait until the page has asked for nothing that was not answered and shown, and asks for nothing more."""
    for _ in range(2):
        until(lambda: page.app.has_answered(page.session))
        drawn(page)


def opened(page: Page) -> Page:
    """Wait until the page is there, as after a reload, and what it asks for first has come."""
    expect(page.locator("#steer-strength")).to_contain_text(re.compile("Relative (strength|Stärke)"), timeout=LONG)
    drawn(page)
    return page


def reload(page: Page) -> None:
    page.reload()
    opened(page)


def tab(page: Page, *names: str) -> None:
    """Open a tab, and the ones in it."""
    for name in names:
        page.get_by_role("tab", name=name).click()
        drawn(page)


def unfold(page: Page, title: str, section: str = "body") -> None:
    """Open (or close) the accordion of this title in a section."""
    page.locator(section).get_by_text(title).first.click()
    drawn(page)


def fill(box: Locator, text: object) -> None:
    """Type into a field that may just have appeared: it sets its first value once more, over what is typed at once."""
    box.wait_for()
    drawn(box.page)
    box.fill(str(text))


def typed(page: Page, box: str, text: str) -> None:
    """Type a value of one's own into a drop-down."""
    fill(page.locator(f"#{box} input"), text)
    page.locator(f"#{box} input").press("Enter")


def slide(page: Page, slider: str, value: float) -> None:
    """Once what was chosen before has brought its own values."""
    settled(page)
    box = page.locator(f"#{slider} input[type=number]")
    fill(box, value)
    box.press("Enter")
    expect(box).to_have_value(f"{value:g}")


def choose(page: Page, picker: str, label: str) -> None:
    page.locator(f"#{picker} input").click()
    # A list that was open before may still be fading out.
    page.get_by_role("option", name=label, exact=True).last.click()


def options(page: Page, picker: str) -> list[str]:
    page.locator(f"#{picker} input").click()
    found = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return found


def set_new_tokens(page: Page, count: int, panel: str = "steer") -> None:
    box = page.locator(f"#{panel}-settings").get_by_label("number input for New tokens")
    if not box.is_visible():
        unfold(page, "More settings", f"#{panel}-settings")
    fill(box, count)
    box.press("Enter")


def write(page: Page, panel: str = "steer", button: str = "write") -> None:
    """Press the button, and wait until all columns are written."""
    status = page.locator(f"#{panel}-status")
    with page.app.holding():  # until the page has taken away what it said of the answers before
        page.locator(f"#{panel}-{button}").click()
        expect(status).not_to_contain_text("wrote", timeout=LONG)
    expect(status).to_contain_text("wrote", timeout=LONG)


def ask(page: Page, question: str, panel: str = "steer") -> None:
    fill(page.locator(f"#{panel}-prompt textarea"), question)
    write(page, panel)


def last_answer(page: Page, column: str) -> str:
    return page.locator(f"#{column} .bot.message").last.inner_text()


def bring(page: Page, *files) -> None:
    unfold(page, "Import a vector", "#generate-bring")
    page.locator("#generate-add input[type=file]").set_input_files(list(files))


def upload(page: Page, file) -> None:
    """In place of the one that may be there."""
    tab(page, "Generate vectors")
    choose(page, "generate-preset", "gloom")
    expect(page.locator("#generate-kind")).to_contain_text("gloom")
    page.locator("#generate-upload input[type=file]").set_input_files(file)


def at_layer(page: Page, layer: int) -> None:
    """Let a vector be made of one layer alone."""
    box = page.locator("#generate-layers textarea, #generate-layers input").first
    if not box.is_visible():
        unfold(page, "More settings", "#generate-settings")
    fill(box, layer)


def make(page: Page, folder: Path, name: str, pairs: list[dict], layer: int = 1) -> None:
    """A vector of the person's own, at one layer."""
    (folder / f"{name}.json").write_text(json.dumps(pairs))
    upload(page, folder / f"{name}.json")
    expect(page.locator("#generate-kind")).to_contain_text(name, timeout=LONG)
    at_layer(page, layer)
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text(f"Made {name}", timeout=LONG)


def download(page: Page, button: str, path: Path) -> Path:
    """Press a button, and save what it downloads."""
    with page.expect_download() as begun:
        page.locator(f"#{button}").click()
    begun.value.save_as(path)
    return path


def toast(page: Page) -> Locator:
    return page.locator(".toast-body.error").last


@contextmanager
def on_the_way(page: Page) -> Iterator[None]:
    """What the page asks for inside is on its way until the end, so that what a person does next comes before it."""
    page.evaluate(
        """() => {
            const fetch = window.fetch;
            const arrived = new Promise((arrive) => { window.arrive = () => { window.fetch = fetch; arrive(); }; });
            window.fetch = async (...call) => {
                if (String(call[0]).includes("queue/join")) await arrived;
                return fetch(...call);
            };
        }"""
    )
    yield
    page.evaluate("() => window.arrive()")

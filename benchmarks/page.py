"""What the page asks of a visitor's browser: time of its main thread, how much is drawn, what comes over the wire.

`python -m benchmarks.page [--beside ANOTHER_CHECKOUT]`: the second checkout is measured in turns with this one.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from benchmarks.ours import free_port

HERE = Path(__file__).parents[1]
TABS = ("Generate vectors", "Compete", "Measure", "Look inside", "Models")
# Through so many frames there was nothing to do and nothing was changed.
REST = """() => new Promise((done) => {
    let quiet = 0, over = false;
    // A browser that has nothing to draw may not say that it is idle.
    const draw = () => { if (!over) requestAnimationFrame(draw); };
    const seen = new MutationObserver(() => { quiet = 0; });
    seen.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    const look = () => {
        if (++quiet > 30) { over = true; seen.disconnect(); done(); }
        else requestAnimationFrame(() => requestIdleCallback(look));
    };
    draw();
    look();
})"""
# In a process of its own, after the app has ended: the same answers as a program has them. Prints tokens a second.
ALONE = """
import sys, time
import caa_core as caa
from caa_core.data.presets import presets
joy, model = presets()["joy"], caa.load()
for _ in range(2):  # the first makes what is made once
    begun = time.monotonic()
    answers = caa.steer(model, sys.argv[1], [("joy", joy.layer, joy.multiplier)])
    taken = time.monotonic() - begun
print((len(answers.unsteered.ids) + len(answers.steered.ids)) / taken)
"""
QUESTION = "How was your day?"
# An old laptop in a full room: so many times slower than this machine, bits a second, and ms that each request waits.
SLOWER, BITS, LATENCY = 4, 1_500_000, 40
COUNT = """() => {
    window.updates = 0;
    window.counted?.disconnect();
    window.counted = new MutationObserver(() => { window.updates++; });
    window.counted.observe(
        document.querySelector('#steer-steered'), { subtree: true, childList: true, characterData: true });
}"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[Path, list[dict[str, float]]] = {
        place: [] for place in (HERE, options.beside and options.beside.resolve()) if place
    }
    for _ in range(options.rounds):
        for place, rounds in found.items():
            rounds.append(measured(place))
    heads = list(found)
    names = dict.fromkeys(name for rounds in found.values() for one in rounds for name in one)
    print("| |", " | ".join(str(place.name if len(heads) > 1 else "here") for place in heads), "|")
    print("|---|" + "---:|" * len(heads))
    for name in names:
        cells = [statistics.median(one[name] for one in rounds if name in one) for rounds in found.values()]
        print(f"| {name} |", " | ".join(f"{cell:.3g}" if cell < 100 else f"{cell:,.0f}" for cell in cells), "|")


def measured(place: Path) -> dict[str, float]:
    """One visit to the app of a checkout."""
    with served(place) as address, sync_playwright() as playwright:
        config = urllib.request.urlopen(f"{address}config").read()
        browser = playwright.chromium.launch(args=["--no-sandbox", "--disable-gpu"], executable_path=chromium())
        page = browser.new_page(viewport={"width": 1360, "height": 960})
        thread = page.context.new_cdp_session(page)
        thread.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(address)
        at_rest(page)
        found = {
            "blocks in the first configuration": len(json.loads(config)["components"]),
            "configuration, kB": len(config) / 1000,
            "events wired": len(json.loads(config)["dependencies"]),
            "first page at rest, s of the main thread": busy(thread),
        }
        found |= write(page, thread)
        for tab in TABS:
            before = busy(thread)
            page.get_by_role("tab", name=tab).click()
            at_rest(page)
            found[f"{tab} first opened, s"] = busy(thread) - before
        found |= make(page, thread)
        page.get_by_role("tab", name="Steer").click()
        at_rest(page)
        found |= {f"{name}, with all tabs opened": cost for name, cost in write(page, thread).items()}
        name = f"until an answer can be asked for, {BITS / 1e6:g} Mbit/s and {SLOWER} times slower, s"
        found[name] = asked_for_slowly(browser, address)
        rate, of_browser = streamed(browser, address)
        browser.close()
    alone = subprocess.run(
        [sys.executable, "-c", ALONE, QUESTION], cwd=place, capture_output=True, text=True, check=True
    )
    found["tokens a second in the browser"] = rate
    found["the browser's processor meanwhile, s"] = of_browser
    found["the same over those of a program without a browser beside it"] = rate / float(alone.stdout)
    return found


def streamed(browser: Browser, address: str) -> tuple[float, float]:
    """Tokens a second of both answers, from the click until all of them stand in the page; and seconds of the processor
    that all of the browser's processes take until then.
    """
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.goto(address)
    at_rest(page)
    page.locator("#steer-prompt textarea").fill(QUESTION)
    begun, before = time.monotonic(), of_browsers()
    page.locator("#steer-write").click()
    page.locator("#steer-stop").wait_for()
    page.locator("#steer-status").get_by_text("wrote").wait_for(timeout=300_000)
    taken, computed = time.monotonic() - begun, of_browsers() - before
    (counts,) = re.findall(r"wrote ([\d +]+) tokens", page.locator("#steer-status").inner_text())
    page.context.close()
    return sum(map(int, re.findall(r"\d+", counts))) / taken, computed


def of_browsers() -> float:
    """Seconds of the processor that processes of browsers have taken that this one has started."""
    started = (one for one in psutil.Process().children(recursive=True) if "chrom" in one.name())
    return sum(one.cpu_times().user + one.cpu_times().system for one in started)


def asked_for_slowly(browser: Browser, address: str) -> float:
    """Seconds from the address to the first answer that is asked for, by a new visitor with a slow machine and line."""
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    slowed = page.context.new_cdp_session(page)
    slowed.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    slowed.send("Network.enable")
    line = {"downloadThroughput": BITS / 8, "uploadThroughput": BITS / 8, "latency": LATENCY, "offline": False}
    slowed.send("Network.emulateNetworkConditions", line)
    begun = time.monotonic()
    page.goto(address, wait_until="commit")
    page.locator("#steer-write").click(timeout=300_000)
    taken = time.monotonic() - begun
    page.locator("#steer-status").get_by_text("wrote").wait_for(timeout=300_000)  # so it was asked for
    page.context.close()
    return taken


def write(page: Page, thread: CDPSession) -> dict[str, float]:
    """What two answers cost that are written: each update while they come, and their beginning and end."""
    page.evaluate(COUNT)
    before = busy(thread)
    page.locator("#steer-prompt textarea").fill(QUESTION)
    page.locator("#steer-write").click()
    page.locator("#steer-stop").wait_for()
    seen = []
    while page.locator("#steer-stop").is_visible():
        seen.append((page.evaluate("() => window.updates"), busy(thread)))
        time.sleep(0.3)
    page.locator("#steer-status").get_by_text("wrote").wait_for(timeout=300_000)
    at_rest(page)
    (first, begun), (last, ended) = (next(one for one in seen if one[0]), seen[-1])
    each = (ended - begun) / (last - first)
    rest = busy(thread) - before - each * page.evaluate("() => window.updates")
    return {"an update while it writes, ms": 1000 * each, "what begins and ends that, s": rest}


def make(page: Page, thread: CDPSession) -> dict[str, float]:
    """What it costs to make a vector and to show it, with all tabs open."""
    page.get_by_role("tab", name="Generate vectors").click()
    at_rest(page)
    before = busy(thread)
    page.locator("#generate-make").click()
    page.locator("#generate-status").get_by_text("Made").wait_for(timeout=300_000)
    at_rest(page)
    return {"a vector made and shown, s": busy(thread) - before}


def at_rest(page: Page) -> None:
    """Wait until the page has nothing to do."""
    page.locator("#steer-strength").get_by_text("Relative strength").or_(
        page.locator("#steer-strength").get_by_text("‖")
    ).first.wait_for(state="attached", timeout=300_000)
    page.evaluate(REST)


def busy(thread: CDPSession) -> float:
    """Seconds that the page's main thread has computed."""
    metrics: list[dict[str, Any]] = thread.send("Performance.getMetrics")["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def chromium() -> str | None:
    """The system's browser, or nothing for playwright's own."""
    return next((path for path in ("/usr/bin/chromium", "/usr/bin/google-chrome") if os.path.exists(path)), None)


@contextmanager
def served(place: Path) -> Iterator[str]:
    """The address of a checkout's app with the embedded model."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryFile() as log:
        app = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=place,
            env={**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"},
            stdout=log,
            stderr=log,
        )
        try:
            while True:
                try:
                    urllib.request.urlopen(address).read()
                    break
                except OSError:  # not there yet, or starting
                    if app.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield address
        finally:
            app.terminate()
            app.wait()


if __name__ == "__main__":
    main()

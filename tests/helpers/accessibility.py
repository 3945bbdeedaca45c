"""What a page does for everybody, as far as a program can tell: axe, and what can be come to by keyboard."""

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from caa_core.app.opening.ready import shipped
from tests.helpers import results
from tests.helpers.sizes import FULL

# Serious or worse, of what is seen of a part, when all that came late is mended: `[rule: where]`. axe goes through all
# of a page, whatever it is asked for: the tabs that are not seen, and the insides of figures, are taken out meanwhile.
AXE = """async ([part, only]) => {
  while (window.mending) await new Promise(requestAnimationFrame);
  const hidden = [...document.querySelectorAll('.tabitem, .js-plotly-plot > *')]
    .filter((one) => !one.matches('.tabitem') || !one.checkVisibility())
    .map((one) => [one, document.createComment('')]);
  hidden.forEach(([one, mark]) => one.replaceWith(mark));
  const there = document.querySelector(part);
  const found = await axe.run(there, { resultTypes: ['violations'], ...(only && { runOnly: only }) });
  hidden.reverse().forEach(([one, mark]) => mark.replaceWith(one));
  return found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(({ target, any }) => `${id}: ${target} ${any[0]?.message ?? ''}`));
}"""
# Colours are looked at as they come to be, not on their way there.
STILL = "* { transition: none !important; animation: none !important; }"
DARK = "() => document.body.classList.toggle('dark')"
# What can be pressed or typed into, and is not come to by Tab, nor by arrow keys from what is.
UNREACHABLE = """() => [...document.querySelectorAll('button, a[href], input, textarea, summary, [role=button]')]
  .filter((part) => part.checkVisibility({ visibilityProperty: true }) && !part.disabled && part.tabIndex < 0)
  .filter((part) => !part.closest('[role=tablist], [role=radiogroup], [role=listbox], [aria-hidden=true], [inert]'))
  .map((part) => part.outerHTML.slice(0, 160))"""


def had_before(page: Page) -> None:
    """Let whose page it is have results, of each kind in full, else of what differs in its parts."""
    scores = {"scores": []}
    found = {
        **{name: shipped(name) for name in ("compete", "compete-verdict", "measure", "views")},
        "open": {"found": results.open_questions().summary(), "seed": 1, "person": scores, "judge": scores},
    }
    if FULL:
        found |= {
            "generate-compare": shipped("generate-compare"),
            "compete-surface": results.surface(),
            "compete-written": results.written(),
            "compete-reasoning": results.thinking(),
            "compete-tokens": results.tokens(),
            "behaviours": {"found": results.paper().pack()},
            "study": {"found": results.study().summary()},
        }
    page.app.studio.session(page.session).person.results.update(found)


def serious(page: Page, part: str = ".tabitem") -> list[str]:
    """What axe finds in a part, in light and in dark, and what of the page cannot be come to by keyboard."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
        page.add_style_tag(content=STILL)
    found = page.evaluate(AXE, [part, None])
    page.evaluate(DARK)
    found += [f"dark: {one}" for one in page.evaluate(AXE, [part, ["color-contrast"]])]
    page.evaluate(DARK)
    return found + [f"no keyboard: {one}" for one in page.evaluate(UNREACHABLE)]

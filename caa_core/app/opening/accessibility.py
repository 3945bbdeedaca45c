"""What the page does for who cannot see it, and for who uses it by keyboard, beyond what gradio's own parts do."""

import json

from caa_core.app.opening.languages.parts import said
from caa_core.reports.page.scripts import NUMBERS, TOKENS

# What is amiss in gradio's own markup, and what is done about each part of the page that is like that. The page notes
# in `mended` how often it found one, so that a test can tell when gradio has changed, and in `mending` that it is about
# to look for more.
MENDS = {
    # The button says more itself, and is named after what it says.
    "button.upload-container[aria-label]": "part.removeAttribute('aria-label')",
    # A button around a button; it folds messages, which are seen without it.
    ".toast-header[role=button]": "part.removeAttribute('role'); part.removeAttribute('tabindex')",
    # A button without a name within one, which does what that does.
    ".thought-group .title button:not([inert])": "part.inert = true",
    # Answers would be read out token by token, all columns at once.
    "[role=log][aria-live=polite]": "part.setAttribute('aria-live', 'off'); name(part)",
    # What has to be scrolled has nothing in it that could be focused; whether it has to be, changes with the window.
    ":is(#model-list, .numbers, .code pre):not([tabindex])": "part.tabIndex = 0",
    # What is below the page's title begins with level 2, in each tab.
    ".tabitem :is(h3, h4):not([aria-level])": (
        "part.ariaLevel = part.matches('h4') && part.closest('.tabitem').querySelector('h3') ? 3 : 2"
    ),
    # Read out, a figure is its labels in a row; it has its numbers as tables.
    ".js-plotly-plot:not([role])": "part.setAttribute('role', 'figure'); name(part)",
}

LOOK = """
/* Who comes by keyboard sees where they are; of a menu, the whole field. */
:focus-visible { outline: 2px solid #2585C2 !important; }
.wrap:has(> .wrap-inner input:focus-visible) { outline: 2px solid #2585C2 !important; }
:focus-visible { outline-offset: 1px; }
.wrap-inner input:focus-visible { outline: none !important; }
/* Colours of gradio's that are too pale to be read: of code, and of the tab that is open; and black on dark blue. */
body:not(.dark) .code .token:is(.string, .attr-value, .builtin, .selector) { color: #3f6212; }
body:not(.dark) .code .token:is(.variable, .parameter) { color: #92400e; }
body:not(.dark) .code .token:is(.number, .boolean, .property) { color: #86198f; }
body:not(.dark) .code .token:is(.comment, .punctuation, .operator) { color: #475569; }
body.dark .code .token.comment { color: #94a3b8; }
body:not(.dark) .code .token:is(.function, .class-name) { color: #9d174d; }
body:not(.dark) .code .token:is(.keyword, .atrule) { color: #075985; }
body:not(.dark) [role=tab].selected { color: var(--primary-700); }
.dark :is(.legend-item, .highlighted .text) { color: white !important; }
#heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
/* Letters of a figure are those of the page, light or dark; those on its colours are plotly's. */
.js-plotly-plot :is([class$="tick"], .cbaxis) text { fill: var(--body-text-color) !important; }
.js-plotly-plot :is([class$="title"], .legendtext, .annotation-text) { fill: var(--body-text-color) !important; }
dialog.figure-numbers { max-width: min(900px, 94vw); max-height: 86vh; padding: 16px; margin: auto; }
dialog.figure-numbers { background: var(--background-fill-primary); color: var(--body-text-color); }
dialog.figure-numbers { border: 1px solid var(--border-color-primary); border-radius: 8px; font-size: var(--text-md); }
dialog.figure-numbers table { margin-top: 12px; border-collapse: collapse; font-variant-numeric: tabular-nums; }
dialog.figure-numbers :is(th, td) { padding: 3px 12px 3px 0; text-align: left; }
dialog.figure-numbers :is(th, td) { border-bottom: 1px solid var(--border-color-primary); }
dialog.figure-numbers button { text-decoration: underline; }
"""

_MENDING = ",\n    ".join(f"[{json.dumps(selector)}, (part) => {{ {mend}; }}]" for selector, mend in MENDS.items())

MEND = f"""() => {{
  const name = (part) => {{
    const label = part.closest('.block')?.querySelector('[data-testid="block-label"]')?.textContent.trim();
    if (label) part.setAttribute('aria-label', label);
  }};
  const mends = [
    {_MENDING},
  ];
  const mended = window.mended = {{}};
  const mend = () => {{
    window.mending = false;
    for (const [selector, change] of mends) for (const part of document.querySelectorAll(selector)) {{
      change(part);
      mended[selector] = (mended[selector] ?? 0) + 1;
    }}
  }};
  const later = () => {{
    // A browser that has nothing to draw may not say that it is idle.
    const soon = () => requestIdleCallback(mend, {{ timeout: 500 }});
    if (!window.mending) {{ window.mending = true; setTimeout(soon, 100); }}
  }};
  new MutationObserver(later).observe(document.body, {{ childList: true, subtree: true }});
  mend();
}}"""

# Nothing is read out while something runs but that it does, and then what it came to, which the status beside it says.
SAY = f"""() => {{
  const [running, done, written] = {said(["Running ...", "Done.", "Written."])};
  const heard = document.createElement('div');
  heard.id = 'heard';
  heard.setAttribute('role', 'status');
  document.body.append(heard);
  new MutationObserver((changes) => changes.forEach(({{ target }}) => {{
    if (!target.matches('button.stop')) return;
    const status = document.getElementById(target.id.replace(/-[a-z]+$/, '-status'))?.innerText ?? '';
    // Of an answer it says how long it took.
    const came = /\\d s \\(/.test(status) ? written : status || done;
    heard.textContent = target.disabled ? came : running;
  }})).observe(document.body, {{ subtree: true, attributeFilter: ['disabled'] }});
}}"""

SHOW_NUMBERS = f"""() => {{
  {NUMBERS}
  {TOKENS}
  window.showNumbers = (id, label) => {{
    const plot = document.querySelector(`#${{id}} .js-plotly-plot`);
    if (!plot) return;
    const box = document.createElement('dialog'), close = document.createElement('button');
    box.className = 'figure-numbers';
    box.setAttribute('aria-label', `${{label}}, ${{{said("in numbers")}}}`);
    close.textContent = {said("Close")};
    close.addEventListener('click', () => box.close());
    box.addEventListener('close', () => box.remove());
    box.append(close, ...numbersOf(plot));
    document.querySelector('.gradio-container').append(box);
    box.showModal();
  }};
}}"""

SCRIPTS = (MEND, SAY, SHOW_NUMBERS)

"""Scripts of the page about its address: the tab that it names, Back and Forward, and links that are copied."""

import json
from collections.abc import Mapping

from caa_core.app.opening.languages.parts import said
from caa_core.app.opening.links import FIELDS, TABS

# Around a Space stands a page there, which sets the address that people see when it is told to.
AROUND = "https://huggingface.co"
# What is said of a copied link, by the texts of one's own that it holds.
COPIED = [
    "Link copied. It has what is chosen here.",
    "Link copied. It has what is chosen here, with the prompt.",
    "Link copied. It has what is chosen here, with the system prompt.",
    "Link copied. It has what is chosen here, with the prompt and the system prompt.",
]
LOOK = """
#link-said { position: fixed; z-index: 1000; bottom: 16px; left: 50%; transform: translateX(-50%); max-width: 90vw; }
#link-said { padding: 10px 14px; border-radius: 8px; background: #1e293b; color: white; font-size: 14px; }
#link-said input { width: min(560px, 80vw); margin: 6px 8px 0 0; padding: 4px 6px; background: white; color: black; }
#link-said button { background: none; color: white; text-decoration: underline; }
"""


def follow(titles: Mapping[str, str]) -> str:
    """A script that opens the tab that the address names (for a class, its lesson), notes there which is chosen from
    then on, and opens it again on Back and Forward; in a Space's frame also the page around it is told. titles: what
    tabs are called, by their ids.

    gradio chooses a tab by itself when the page is there: what the address says is read before anything is noted.
    """
    return f"""() => {{
  const tabs = {json.dumps(TABS)}, titles = {said([*titles.values()])}, titled = {json.dumps([*titles])};
  const ours = {json.dumps(["v", "tab", "model", *FIELDS])}, told = [...ours, 'class'];
  const around = [...(location.ancestorOrigins ?? []), document.referrer.replace(/\/$/, '')].includes('{AROUND}');
  const names = Object.keys(tabs);
  const said = () => {{
    const has = new URLSearchParams(location.search), name = has.get('tab') ?? (has.get('class') && 'learn');
    return names.includes(name) ? name : null;
  }};
  // Those that do not fit lie in a menu, and have no id there.
  const buttons = () => [...document.querySelectorAll('[role=tab][data-tab-id], .overflow-dropdown button')]
    .filter((button) => button.closest('.tabs')?.offsetParent);
  const id = (button) => button.dataset.tabId ?? titled[titles.indexOf(button.textContent.trim())];
  const chosen = () => {{
    const there = buttons().filter((button) => button.classList.contains('selected')).map(id);
    return names.find((name) => tabs[name].every((one) => there.includes(one)));
  }};
  let opening = false, asked = 0, opened = 0;
  window.openTab = async (path) => {{
    const mine = ++asked;
    for (const one of path) {{
      const there = () => buttons().find((button) => id(button) === one);
      for (let wait = 0; wait < 50 && !there(); wait++) await new Promise((later) => setTimeout(later, 100));
      if (mine !== asked) return;  // another was asked for while this one was waited for
      there()?.click();
    }}
  }};
  const open = async (name) => {{
    const mine = ++opened;
    opening = true;
    await window.openTab(tabs[name]);
    setTimeout(() => {{ if (mine === opened) opening = false; }}, 0);
  }};
  const tell = () => {{
    if (window.parent === window || !around) return;
    const query = new URLSearchParams();
    for (const [name, text] of new URLSearchParams(location.search)) if (told.includes(name)) query.append(name, text);
    window.parent.postMessage({{ queryString: query.toString() }}, '{AROUND}');
  }};
  const note = () => {{
    const name = chosen();
    if (opening || !name || name === (said() ?? names[0])) return;
    const query = new URLSearchParams(location.search);
    for (const one of ours) query.delete(one);
    query.set('tab', name);
    history.pushState(null, '', `?${{query}}`);
    tell();
  }};
  document.addEventListener('click', () => setTimeout(note, 0));
  window.addEventListener('popstate', () => {{ open(said() ?? names[0]); tell(); }});
  if (said()) open(said());
}}"""


def copy(space: str) -> str:
    """A script that copies the link with a query, or shows it to be copied by hand.

    space: the Space's name, where this is one: in its frame, links lead to the page around it.
    """
    return f"""async (query) => {{
  const space = {json.dumps(space)};
  const page = space && window.parent !== window ? `{AROUND}/spaces/${{space}}` : location.origin + location.pathname;
  const room = new URLSearchParams(location.search).get('class');
  const link = page + query + (room ? `&class=${{encodeURIComponent(room)}}` : ''), has = new URLSearchParams(query);
  const holds = (has.get('prompt') ? 1 : 0) + (has.get('system') ? 2 : 0);
  document.querySelector('#link-said')?.remove();
  const said = document.createElement('div');
  said.id = 'link-said';
  said.setAttribute('role', 'status');
  document.body.append(said);
  try {{
    await navigator.clipboard.writeText(link);
    said.textContent = {said(COPIED)}[holds];
    setTimeout(() => said.remove(), 6000);
  }} catch {{
    const box = document.createElement('input'), close = document.createElement('button');
    const before = document.activeElement;
    [box.readOnly, box.value, close.textContent] = [true, link, {said("Close")}];
    box.setAttribute('aria-label', {said("The link")});
    said.setAttribute('role', 'dialog');
    said.setAttribute('aria-label', {said("Copy link")});
    const end = () => {{ said.remove(); before?.focus(); }};
    close.addEventListener('click', end);
    said.addEventListener('keydown', ({{ key }}) => {{ if (key === 'Escape') end(); }});
    const why = {said("This browser lets the page copy nothing here. Copy the link:")};
    said.append(why, document.createElement('br'), box, close);
    box.focus();
    box.setSelectionRange(0, link.length, 'backward');  // seen from its beginning
  }}
}}"""

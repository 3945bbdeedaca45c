"""How the page is laid out: sizes of text, what a small screen folds, and what is scrolled to."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from gradio.themes.utils import sizes

# Nothing is smaller than what can be read: what is less important is paler.
TEXT = sizes.Size("14px", "14px", "14px", "14px", "16px", "20px", "22px", name="text")

# What is paler on a light page is read by everybody still: 4.5:1 and more.
CONTRAST = {
    "body_text_color_subdued": "*neutral_600",
    "block_info_text_color": "*neutral_600",
    "block_label_text_color": "*neutral_600",
    "block_title_text_color": "*neutral_600",
    "input_placeholder_color": "*neutral_500",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_background_fill_hover": "#991b1b",
    "checkbox_border_color_dark": "*neutral_500",
}

LAYOUT = """
/* Narrow edges on a small screen; gradio takes rules within @media for its own parts alone. */
.app.fillable { padding: 12px clamp(12px, (100vw - 390px) * .05 + 12px, 32px) !important; }
/* What is chosen stays beside what is long. */
.choices:has(> * > #views-chosen) { position: sticky; top: 12px; align-self: start; }
/* A tab that is being drawn. */
.tabitem > .column > .column:not(:has(*))::before { content: 'One moment ...'; padding: 24px 4px; }
/* The header is one line. */
#top { align-items: baseline; gap: 2px 24px; }
#intro .md { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; }
#intro :is(h1, p) { margin: 0; }
#intro h1 { font-size: var(--text-xxl); }
#model-line p { margin: 0; }
.prose small, small { font-size: var(--text-md); color: var(--body-text-color-subdued); }
.prose p { margin-bottom: .4em; }
.prose :is(h3, h4):first-child { margin-top: 0; }

/* What cannot be pressed while something runs gives its place to Stop, which is there only then. */
button.stop:disabled { display: none; }
button:disabled:has(~ button.stop:not(:disabled)), .after button:disabled { display: none; }

/* The prompt and its button are one line. */
.ask { align-items: end; }
.ask > button { min-height: 42px; white-space: nowrap; flex: 0 0 auto !important; width: auto !important; }
#measure-look { align-self: center; }
/* What cannot be had yet is not there. */
.file:disabled { display: none; }
/* What is offered is beside its name. */
.suggestions { display: flex; align-items: center; gap: 10px; }
.suggestions > .label { margin: 0; white-space: nowrap; }
.suggestions > .gallery { flex: 1; min-width: 0; contain: inline-size; }
.suggested { align-items: center; }
.suggested > :not(.suggestions) { flex: 0 0 auto !important; width: auto !important; border: 0; background: none; }
.suggested > :not(.suggestions) { margin: 0 !important; }
/* The verdict with its button. */
.card { padding: 12px 14px; border: 1px solid var(--border-color-primary); border-radius: var(--block-radius); }
.card, .card .column { gap: 4px; }
.card .ask { align-items: start; }
.card h4 { margin: 0 0 2px; font-size: var(--text-lg); }
/* The title of a section may take two lines. */
.label-wrap > span:first-child { text-align: left; }
.label-wrap > .icon { flex: none; align-self: center; }
/* What can be done with an answer is said softly. */
.after { align-items: center; }
.after:not(:has(button)):has(.prose:empty) { display: none; }
button.sm { font-weight: 400; }
.code { contain: inline-size; }
.code code { font-size: var(--text-md); }
/* Its button to copy stands above it. */
.code pre { padding-top: 30px !important; }
.dark .code pre { background: var(--background-fill-primary); }
.unseen-part { display: none; }
.header-cell :is(.cell-wrap, .header-content, .header) { text-align: start; }
/* A plus is wider than the minus by which gradio takes a column's width. */
[role=gridcell] .cell-wrap { padding-inline-end: 2px; }
/* What is chosen ends before the arrow. */
input[role=combobox] { padding-right: 26px; text-overflow: ellipsis; }
.answers .message-row.panel { position: relative; padding: 8px 14px !important; margin: 0; }
.answers label.float { position: static; }
.answers .message-buttons { position: absolute !important; right: 6px; top: 6px; margin: 0 !important; opacity: 0; }
.answers .message-row:is(:hover, :focus-within) .message-buttons { opacity: 1; }
/* A place for a file is one line below its label. */
button.upload-container .wrap { flex-direction: row; min-height: 0; gap: 6px; padding: 30px 8px 0; font-size: 14px; }
button.upload-container { align-content: center; }
button.upload-container .icon-wrap { display: none; }

/* What can be predicted stands one below the other; the ways to other steps are one line. */
#learn-choice .wrap { flex-direction: column; align-items: stretch; }
#learn-ways { align-items: center; }
#learn-score { text-align: center; }
/* The list of steps: no label reaches over the edge, and what is to come can be read. */
#learn-steps { padding: 0 64px 0 48px; }
#learn-steps .stepper-wrapper { padding: 4px 0 28px; margin: 0; }
#learn-steps .step-title { display: none; }
#learn-steps .step-button { opacity: 1; }
#learn-steps .step-label { color: var(--body-text-color-subdued); opacity: 1; }
#learn-steps .active .step-label { color: var(--body-text-color); }
#learn-steps .step-connector.completed { background-color: var(--color-accent); }
#learn-steps:is(.compact, :has(.compact)) .pending .step-number { color: transparent; background: #64748b66; }
#learn-about h4 { margin: 0; }
#learn-hints summary { padding: 3px 0; }
/* Steps that a lesson lacks are there for gradio, which goes on to them with a line. */
#learn-steps .step-connector:last-child { display: none; }
/* What is folded belongs to what it is folded under. */
.prose details > p { margin: 2px 0 10px; }

/* Firefox draws scroll bars and the arrows of numbers white. */
.dark * { color-scheme: dark; scrollbar-color: #64748b transparent; }
footer .divider { display: none; }
.chosen { display: none !important; }
#words { border: 0; }
#tip { position: fixed; z-index: 1001; max-width: min(340px, 90vw); padding: 6px 10px; border-radius: 6px; }
#tip { font-size: 14px; line-height: 1.4; white-space: pre-line; pointer-events: none; }
#tip { background: #1e293b; color: white; }

/* A finger rests on nothing: what comes under a mouse is there always, over nothing, or never. */
@media (hover: none) {
  .answers .message-buttons { position: static !important; opacity: .7; }
  .answers .user-row .message-buttons { display: none; }
  .modebar { display: none; }
}
@media (max-width: 640px) {
  #intro p { flex-basis: 100%; }
  #top { position: relative; }
  #to-learn { position: absolute; top: 0; right: 0; }
  /* So that a third tab, Compete, is seen. */
  .tab-container > button { padding: 0 8px; }
  #learn-steps { padding: 0; }
  #learn-ways { flex-wrap: wrap; justify-content: space-between; }
  #learn-score { order: 3; flex-basis: 100%; }
  #model-line { text-align: left; }
  /* What is chosen is one line, until somebody wants to change it. */
  .chosen { display: flex !important; flex-wrap: nowrap; align-items: center; gap: 8px; }
  .chosen > .says { flex: 1 1 auto !important; min-width: 0 !important; contain: inline-size; }
  .chosen > :not(.says) { flex: 0 0 auto !important; width: auto !important; min-width: 0 !important; }
  .says * { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  .says { font-weight: 600; }
  .chosen summary { cursor: pointer; list-style: none; }
  .chosen summary span { color: var(--link-text-color); }
  .chosen details[open] .closed { display: none; }
  .chosen details:not([open]) .opened { display: none; }
  .choices:has(> .chosen details:not([open])) > :not(.chosen) { display: none !important; }
  .choices:has(> .chosen details:not([open])) ~ :is(#measure-upload, #measure-settings) { display: none !important; }
  .choices:has(> .chosen details:not([open])) ~ :is(#open-upload, #open-settings) { display: none !important; }
  /* Columns stay beside each other; further ones are a swipe away. */
  .columns { flex-wrap: nowrap; overflow-x: auto; scroll-snap-type: x proximity; gap: 8px; }
  .columns > * { min-width: calc(50% - 4px) !important; scroll-snap-align: start; }
  /* Of a third, enough is seen that a reader knows of it. */
  .columns:has(> :nth-child(3)) > * { min-width: calc(50% - 24px) !important; }
  .answers .message-row.panel { padding: 8px 2px !important; }
  /* Prompt and answers come before the verdict. */
  #compete-chat { order: -1; }
  .after > :first-child, .ask > :has(.upload-container) { flex: 1 1 100% !important; }
  .suggested > .suggestions { flex: 1 1 100% !important; }
  .suggestions .gallery { flex-wrap: nowrap; overflow-x: auto; }
  .suggestions .gallery > * { flex-shrink: 0; }
  /* What a ready contest came to makes its name long: the row has the whole width. */
  #compete-ready { flex-direction: column; align-items: stretch; gap: 4px; }
  #compete-ready > .gallery { flex: none; }
  /* A table of many columns is as wide as it has to be, and scrolls. */
  .numbers table:has(th:nth-child(5)) { min-width: 720px; }
  .numbers table:has(th:nth-child(8)) { min-width: 1080px; }
  .table-container:has(th:nth-child(6)) { min-width: 1100px; }
  #model-list :is(th, td) { white-space: nowrap !important; }
  .wide { overflow-x: auto !important; }
  .wide .js-plotly-plot { min-width: 640px; }
}
"""

# A button that is pressed by keyboard cannot be pressed while its work goes on, and a browser then forgets where the
# person was.
FOCUS = """() => {
  let left = null;
  document.addEventListener('focusin', () => { left = null; });
  new MutationObserver((changes) => changes.forEach(({ target }) => {
    if (target.disabled && target === document.activeElement) left = target;
    else if (!target.disabled && target === left && document.activeElement === document.body) target.focus();
  })).observe(document, { subtree: true, attributeFilter: ['disabled'] });
}"""

# A figure that was drawn while it was folded is as wide as plotly thinks, until it is seen.
FITTED = """() => document.addEventListener('click', ({ target }) => {
  if (target.closest?.('.label-wrap')) requestAnimationFrame(() => window.dispatchEvent(new Event('resize')));
})"""

# What a sentence names is unfolded and shown by its link.
LED = """() => document.addEventListener('click', (event) => {
  const link = event.target.closest?.('.prose a[href^="#"]'), part = link && document.querySelector(link.hash);
  if (!part) return;
  event.preventDefault();
  part.querySelector('.label-wrap:not(.open)')?.click();
  const behavior = matchMedia('(prefers-reduced-motion)').matches ? 'auto' : 'smooth';
  requestAnimationFrame(() => part.scrollIntoView({ behavior }));
})"""

CHANGE = '<details><summary><span class="closed">Change</span><span class="opened">Done</span></summary></details>'


@contextmanager
def choices(name: str, scale: int = 1, min_width: int = 280) -> Iterator[gr.HTML]:
    """A column of what can be chosen, which a small screen folds into the line that is yielded. name: of its ids."""
    with gr.Column(scale=scale, min_width=min_width, elem_classes="choices"):
        with gr.Row(elem_classes="chosen"):
            line = gr.HTML(elem_id=f"{name}-chosen", elem_classes="says")
            gr.HTML(CHANGE, elem_id=f"{name}-change")
        yield line


def into_view(elem_id: str) -> str:
    """A script that scrolls as far as needed to show a part."""
    return f"""() => document.querySelector('#{elem_id}')?.scrollIntoView({{
  behavior: matchMedia('(prefers-reduced-motion)').matches ? 'auto' : 'smooth', block: 'nearest',
}})"""


def from_its_end(columns: str, before: str) -> str:
    """A script that lets columns of chats show what is asked and written last, until their reader scrolls elsewhere,
    and from its beginning what was made before. columns, before: ids of the parts, of which the second says so.
    """
    return f"""
const kept = new WeakMap();
const look = (box) => {{
  const of = kept.get(box) ?? {{ end: true }}, asked = box.querySelectorAll('.user.message').length;
  kept.set(box, {{ asked, end: of.end || of.asked !== asked }});
  if (kept.get(box).end && !document.querySelector('#{before} [class^=made-]')) box.scrollTop = box.scrollHeight;
}};
const begin = () => {{
  const row = document.querySelector('#{columns}');
  if (!row) return requestAnimationFrame(begin);
  const all = () => row.querySelectorAll('.panel-wrap').forEach(look);
  new MutationObserver(all).observe(row, {{ subtree: true, childList: true, characterData: true }});
  row.addEventListener('scroll', ({{ target: box }}) => {{
    if (kept.has(box)) kept.get(box).end = box.scrollTop + box.clientHeight > box.scrollHeight - 40;
  }}, true);
  all();
}};
begin();
"""


# Opens a tab, and the one in it, by their ids (see `address.follow`).
OPEN_TABS = """async (names) => {
  await window.openTab?.(names);
  window.scrollTo({ top: 0 });
}"""


def to_tab(*names: str) -> str:
    """A script that opens a tab, and the one in it, by their ids."""
    return f"() => ({OPEN_TABS})({list(names)})"


def folded(said: str, more: str, title: str = "More about it") -> str:
    """A sentence, and what else there is to say, which is unfolded by who asks for it; as Markdown."""
    return f"{said}\n\n<details><summary>{title}</summary>\n\n{more}\n\n</details>"

"""Words of the field in plain ones: underlined on the page, said where the pointer is, and listed at its foot."""

import gradio as gr

from caa_core.app.opening.languages.parts import said

GLOSSARY = {
    "A/B questions": "Questions with two options, (A) and (B), of which the model names one.",
    "answer mass": "How likely the model writes one of the two answers at all; low: it did not answer the question.",
    "arm": "One condition of an experiment.",
    "AUC": "How often an answer of one kind reads higher than one of the other: 0.5 is chance, 1 always.",
    "cell": "One layer with one multiplier.",
    "controls": "Vectors that should do nothing, such as random ones. An effect has to be larger than theirs.",
    "cosine": "How far two vectors point the same way: 1 the same, 0 unrelated, −1 opposite.",
    "cue": "Words behind the prompt that ask for the answer, such as “Answer:”.",
    "greedy": "The likeliest token is written each time; nothing is drawn by chance.",
    "held-out": "Kept apart when the vector was made, so that it can be tested on something new.",
    "items": "Prompts with two answers each, on which a vector is tested.",
    "KL": "How far the next token's probabilities are from the unsteered ones, in nats. 0: not at all.",
    "layer": "One of the blocks that the model is stacked from, counted from 0. Vectors are added to what it puts out.",
    "logit lens": "What the model would say next if it ended after a layer.",
    "multiplier": "How many times the vector is added. Below 0, its opposite is.",
    "nats": "The unit of a log-probability: 0.1 nats a token make each token about 10% likelier.",
    "norm": "The length of a vector.",
    "one batch": "All columns were written at the same time.",
    "perplexity": "How surprised the unsteered model is by a text: low for text that it would write itself.",
    "relative strength": "The length of what is added, over the usual length of what is there (the median norm).",
    "residual stream": "The signal that runs through the model: each layer reads it and adds to it.",
    "second voices": "Random vectors of B's norm and cosine to A: what both do beyond a sum is compared with theirs.",
    "shuffled labels": "The same pairs with their answers swapped by a coin: a vector made of these should do nothing.",
    "steered positions": "The tokens at which the vector is added.",
    "steering vector": "A direction that is added to the model's signal while it writes.",
    "temperature": "How much chance there is in what is written. 0: none.",
    "token": "A piece of text that the model reads or writes at once: a word or a part of one.",
}

LOOK = """
::highlight(term) { text-decoration: underline dotted; text-underline-offset: 3px; }
"""
# The words are found in the page's own text, which is not changed: what gradio draws stays as it drew it.
TOOLTIPS = f"""() => {{
  const said = {said(GLOSSARY)};
  const words = Object.keys(said).sort((a, b) => b.length - a.length).join('|');
  const pattern = new RegExp(`(?<![\\\\w-])(?:${{words}})(?![\\\\w-])`, 'gi');
  const places = '[data-testid="block-info"], .info-text, .prose';
  const tip = document.createElement('div');
  tip.id = 'tip';
  tip.setAttribute('role', 'tooltip');
  tip.hidden = true;
  document.body.append(tip);
  const seen = (node) => {{
    const found = node.parentElement?.closest(places);
    return found && !found.closest('.answers, table, a, button') && !node.parentElement.closest('pre, code') && found;
  }};
  let waits = false;
  const mark = () => {{
    waits = false;
    const ranges = [];
    for (const place of document.querySelectorAll(places)) {{
      const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT), known = new Set();
      for (let node; (node = walker.nextNode()); ) {{
        if (seen(node) !== place) continue;
        for (const match of node.data.matchAll(pattern)) {{
          const word = match[0].toLowerCase();
          if (known.has(word)) continue;
          known.add(word);
          const range = new Range();
          range.setStart(node, match.index);
          range.setEnd(node, match.index + match[0].length);
          ranges.push(range);
        }}
      }}
    }}
    CSS.highlights?.set('term', new Highlight(...ranges));
  }};
  const later = () => {{
    if (!waits) {{ waits = true; setTimeout(() => requestIdleCallback(mark, {{ timeout: 500 }}), 400); }}
  }};
  // What answers say is not looked through, and while they are written nothing else changes.
  const inAnswer = ({{ target }}) => (target.closest ? target : target.parentElement)?.closest('.answers');
  new MutationObserver((changes) => changes.every(inAnswer) || later()).observe(
    document.querySelector('.gradio-container'), {{ childList: true, subtree: true, characterData: true }});
  later();
  const show = (text, x, top, bottom) => {{
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    tip.style.left = `${{Math.max(8, Math.min(x, innerWidth - tip.offsetWidth - 12))}}px`;
    tip.style.top = `${{bottom + tip.offsetHeight < innerHeight ? bottom : top - tip.offsetHeight}}px`;
  }};
  // What is behind some words of the page's own is a part of them.
  const tell = (told) => {{
    const box = told?.getBoundingClientRect();
    show(told?.querySelector('.unseen').textContent, box?.left, box?.top - 6, box?.bottom + 6);
  }};
  const look = (event) => {{
    const told = event.target.closest?.('[data-tip]');
    if (told) return tell(told);
    const at = document.caretPositionFromPoint
      ? document.caretPositionFromPoint(event.clientX, event.clientY)
      : document.caretRangeFromPoint(event.clientX, event.clientY);
    const node = at?.offsetNode || at?.startContainer, offset = at?.offset ?? at?.startOffset;
    let found;
    if (node?.nodeType === Node.TEXT_NODE && seen(node) && node.parentElement.contains(event.target))
      found = [...node.data.matchAll(pattern)].find(
        (match) => match.index <= offset && offset <= match.index + match[0].length);
    const key = found && Object.keys(said).find((word) => word.toLowerCase() === found[0].toLowerCase());
    show(said[key], event.clientX, event.clientY - 12, event.clientY + 18);
  }};
  document.addEventListener('pointermove', look);
  document.addEventListener('click', look);
  document.addEventListener('focusin', (event) => tell(event.target.closest('[data-tip]')));
  document.addEventListener('keydown', (event) => {{ if (event.key === 'Escape') tip.hidden = true; }});
  document.addEventListener('scroll', () => {{ tip.hidden = true; }}, true);
}}"""


def listed() -> None:
    """Draw all words, for who has no pointer."""
    with gr.Accordion("Words", open=False, elem_id="words"):
        gr.Markdown("\n".join(f"- **{word}**: {meaning}" for word, meaning in GLOSSARY.items()))

"""Scripts of a report's page and of the app's: the numbers of a figure as tables, and tokens by arrow keys."""

# From what plotly has drawn, so that all figures have them alike: a table for each pair of axes, headed by their
# titles. What only fills a figure, and has no name, is left out.
NUMBERS = """
const numbersOf = (plot) => {
  const layout = plot._fullLayout, panels = new Map();
  const said = (text) => new DOMParser().parseFromString(String(text ?? '').replace(/<br>/g, ' '), 'text/html')
    .body.textContent.trim();
  // What has no title of its own has plotly's words in its place.
  const titled = (part) => /^Click to enter/.test(part?.title?.text ?? '') ? '' : said(part?.title?.text);
  const shown = (value) => typeof value === 'number' ? String(+value.toPrecision(4)) : said(value);
  const axisOf = (trace, letter) => layout[`${letter}axis${(trace[`${letter}axis`] || letter).slice(1)}`];
  const named = (axis, value) => {
    const at = axis.tickmode === 'array' && axis.ticktext ? axis.tickvals.indexOf(value) : -1;
    return shown(at < 0 ? value : axis.ticktext[at]);
  };
  const ends = (bars, value, i) => bars?.array?.[i] == null ? ''
    : ` (${shown(value - (bars.arrayminus ?? bars.array)[i])} to ${shown(value + bars.array[i])})`;
  for (const trace of plot._fullData) {
    const name = /^trace \\d+$/.test(trace.name ?? '') ? '' : said(trace.name);
    const x = trace.x && axisOf(trace, 'x'), y = trace.x && axisOf(trace, 'y');
    if (trace.visible !== true || !x || !y || (trace.hoverinfo === 'skip' && !name)) continue;
    const key = `${x._id} ${y._id}`;
    if (!panels.has(key)) panels.set(key, { heads: ['', titled(x), titled(y), ''], rows: [] });
    const { heads, rows } = panels.get(key);
    if (trace.z) {
      heads[3] = titled(trace.colorbar);
      trace.z.forEach((row, i) => row.forEach((value, j) => {
        if (value == null) return;
        const written = trace.text?.[i]?.[j] || shown(value);
        rows.push(['', named(x, trace.x[j]), named(y, trace.y[i]), written]);
      }));
    } else Array.from(trace.x).forEach((across, i) => {
      const up = trace.y[i];
      if (across == null || up == null) return;
      const place = [named(x, across) + ends(trace.error_x, across, i), named(y, up) + ends(trace.error_y, up, i)];
      rows.push([place.includes(name) ? '' : name, ...place, '']);
    });
  }
  const row = (kind, cells) => {
    const line = document.createElement('tr');
    for (const text of cells) line.append(Object.assign(document.createElement(kind), { textContent: text }));
    return line;
  };
  return [...panels.values()].filter(({ rows }) => rows.length).map(({ heads, rows }) => {
    const table = document.createElement('table');
    const there = heads.map((head, i) => i === 1 || i === 2 || rows.some((cells) => cells[i]));
    const kept = (cells) => cells.filter((_, i) => there[i]);
    table.append(row('th', kept(heads)), ...rows.map((cells) => row('td', kept(cells))));
    return table;
  });
};
"""

# Coloured tokens are one stop of the Tab key; arrows go from one to the next.
TOKENS = """
document.addEventListener('keydown', (event) => {
  const token = event.target.closest?.('.caa-tokens > span'), step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const next = step === 1 ? token?.nextElementSibling : step === -1 ? token?.previousElementSibling : null;
  if (!next) return;
  event.preventDefault();
  token.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
"""

# On paper nothing can be unfolded, and a figure is as wide as A4 within the margins.
PAPER = """
const plots = () => document.querySelectorAll('.js-plotly-plot');
addEventListener('beforeprint', () => {
  document.querySelectorAll('details.prose').forEach((fold) => { fold.open = true; });
  plots().forEach((plot) => Plotly.relayout(plot, { width: 680 }));
});
addEventListener('afterprint', () => plots().forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true })));
document.querySelectorAll('details.figure-numbers').forEach((fold) => fold.addEventListener('toggle', () => {
  fold.lastElementChild.replaceChildren(...numbersOf(fold.closest('figure').querySelector('.js-plotly-plot')));
}));
"""

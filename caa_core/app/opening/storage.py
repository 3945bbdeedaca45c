"""A page that may keep nothing, as in the frame of another site in a browser that blocks what such a one would keep.

By asking for the browser's storage, gradio's script would end in an error there. It finds one that lasts as long as the
page is open.
"""

# It stands before all else in the page, since gradio asks as its parts come in.
IN_MEMORY = """<script>
try {
  localStorage.length;
} catch {
  const held = new Map();
  Object.defineProperty(window, 'localStorage', { value: {
    getItem: (name) => held.get(name) ?? null,
    setItem: (name, value) => { held.set(name, `${value}`); },
    removeItem: (name) => { held.delete(name); },
  } });
}
</script>"""

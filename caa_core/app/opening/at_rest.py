"""What keeps a page that nobody touches from computing."""

# Gradio draws a sign of loading until its page is there, and the clock of that sign, once begun, asks for each frame
# that the browser draws as long as the page is open: some percent of a processor, also while an answer is written.
# No sign of gradio's is seen in this page, so none of their clocks has to go. This stands before all else in the page,
# since gradio takes hold of the function as its parts come in. How many clocks were stopped is noted for a test.
NO_CLOCKS = r"""<script>
{
  const clock = /^\(\)=>{\w+\(\w+,\(performance\.now\(\)-.{1,9}\)\/1e3\)/;
  const ask = window.requestAnimationFrame.bind(window);
  window.clocksStopped = 0;
  window.requestAnimationFrame = (callback) => clock.test(callback) ? (window.clocksStopped++, 0) : ask(callback);
}
</script>"""

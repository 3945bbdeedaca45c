"""What a page asks for while gradio is ending the stream that it hears of its events by.

A page has one such stream, which the server ends as soon as all that was asked for is answered. What is asked for just
then opens no other one while the page does not know of the end yet, and when it knows, nothing asks again: the answer
is never heard, nor any other of that button, which counts as pressed. Behind a balancer, or on a slow network, that
happens. So the page hears that something was taken on no sooner than that its stream is ended, or speaks of it.
"""

# It stands before all else in the page, since gradio takes hold of the function as its parts come in.
NONE_UNHEARD = r"""<script>
{
  const ask = window.fetch.bind(window);
  let stream = null;
  const end = (one) => { one.over = true; one.waiting.forEach((go) => go()); };
  const hear = async (one, body) => {
    const reader = body.getReader(), decoder = new TextDecoder();
    for (let text = '', read; !(read = await reader.read()).done; text = text.slice(-60)) {
      text += decoder.decode(read.value, { stream: true });
      for (const [, event] of text.matchAll(/"event_id":"(\w+)"/g)) {
        one.spokenOf.add(event);
        one.waiting.get(event)?.();
      }
    }
  };
  const opened = async (request) => {
    const one = stream = { spokenOf: new Set(), waiting: new Map(), over: false };
    let answer;
    try {
      answer = await ask(request);
    } finally {
      if (!answer?.ok) end(one);
    }
    if (!answer.ok) return answer;
    const [theirs, ours] = answer.body.tee();
    // What is heard here first, gradio hears a little later.
    hear(one, ours).catch(() => {}).then(() => setTimeout(end, 100, one));
    return new Response(theirs, answer);
  };
  const joined = async (...call) => {
    const answer = await ask(...call), one = stream;
    const event = answer.ok && (await answer.clone().json()).event_id;
    if (event && one && !one.over && !one.spokenOf.has(event)) await new Promise((go) => one.waiting.set(event, go));
    return answer;
  };
  window.fetch = (...call) => {
    const [asked] = call, path = new URL(asked.url ?? asked, location).pathname;
    if (path.endsWith('/queue/join')) return joined(...call);
    return path.endsWith('/queue/data') && asked instanceof Request ? opened(asked) : ask(...call);
  };
}
</script>"""

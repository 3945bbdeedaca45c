"""A page on a slow way to its app."""

import pytest
from playwright.sync_api import expect

from tests.helpers.browser import choose, opened, tab

pytestmark = pytest.mark.browser
# When the stream that brings the pairs of gloom has ended, the page hears of it as soon as it may.
LATE_END = r"""{
  const ask = window.fetch.bind(window), ended = 'data: {"msg":"close_stream"';
  const allowed = new Promise((allow) => { window.letItEnd = allow; });
  window.fetch = async (...call) => {
    const answer = await ask(...call);
    if (!answer.url.includes('/queue/data')) return answer;
    let late = false;
    const held = new TransformStream({
      async transform(text, out) {
        late ||= text.includes('### gloom');
        const end = text.indexOf(ended);
        if (!late || end < 0) return out.enqueue(text);
        out.enqueue(text.slice(0, end));
        await allowed;
        out.enqueue(text.slice(end));
      },
    });
    const parts = [new TextDecoderStream(), held, new TextEncoderStream()];
    return new Response(parts.reduce((body, part) => body.pipeThrough(part), answer.body), answer);
  };
}"""


def test_what_is_asked_for_before_the_end_of_the_last_answer_is_known_is_answered(visits, tiny_app):
    page = visits.arrive(tiny_app)
    page.add_init_script(LATE_END)
    page.goto(tiny_app.url)
    opened(page)
    tab(page, "Generate vectors")
    choose(page, "generate-preset", "gloom")
    expect(page.locator("#generate-kind")).to_contain_text("gloom")
    with page.expect_response(lambda answer: "french" in (answer.request.post_data or "")):
        choose(page, "generate-preset", "french")
    page.evaluate("() => letItEnd()")
    expect(page.locator("#generate-kind")).to_contain_text("french")

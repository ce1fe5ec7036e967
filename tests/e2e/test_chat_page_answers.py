"""How the chat page shows answers: Markdown, hostile markup, long ones, on a phone. A test gives them."""

import threading

import pytest

from chat_page import chromium  # noqa: F401: a fixture
from scripted_server import scripted, server  # noqa: F401: fixtures

MARKDOWN = """Some **bold** and `inline` words.

| name | value |
|------|------:|
| one  |   1.5 |

```python
print("<b>not bold</b>")
```

5. five
   ```sh
   ls
   ```
6. six

- [x] done

[a link](https://example.org/a) and a line
after it
"""


def test_markdown_is_shown(scripted, server):
    server.answer = MARKDOWN
    scripted.answer_to("Show me.")
    assert [e.text for e in scripted.find(".assistant strong")] == ["bold"]
    assert [e.text for e in scripted.find(".assistant td")] == ["one", "1.5"]
    assert scripted.find(".assistant td")[1].value_of_css_property("text-align") == "right"
    assert [e.text for e in scripted.find(".code pre")] == ['print("<b>not bold</b>")', "ls"]
    assert [e.text for e in scripted.find(".code header span")] == ["python", "sh"]
    assert scripted.find(".assistant ol")[0].get_attribute("start") == "5"
    assert "☑ done" in scripted.texts("assistant")[0]
    [link] = scripted.find(".assistant a")
    assert link.get_attribute("href") == "https://example.org/a"
    assert link.get_attribute("target") == "_blank" and "noopener" in link.get_attribute("rel")
    assert "and a line\nafter it" in scripted.texts("assistant")[0]


@pytest.mark.parametrize("piece", [1, 5, 10**6])
def test_a_streamed_answer_looks_as_if_it_had_come_whole(scripted, server, piece):
    server.answer = [MARKDOWN[i:i + piece] for i in range(0, len(MARKDOWN), piece)]
    scripted.answer_to("Show me.")
    streamed = scripted.find(".assistant .text")[0].get_attribute("innerHTML")
    scripted.reload()
    assert scripted.find(".assistant .text")[0].get_attribute("innerHTML") == streamed


def copied(page):
    """What the copy buttons give to the clipboard."""
    page.driver.execute_script("window.copied = []; Object.defineProperty(navigator, 'clipboard', {configurable: true, value:"
                               "  {writeText: async (text) => { window.copied.push(text); }}});")
    return lambda: page.driver.execute_script("return window.copied;")


def test_code_and_messages_can_be_copied(scripted, server):
    server.answer = MARKDOWN
    scripted.answer_to("Show *me*.")
    texts = copied(scripted)
    scripted.find(".code [data-action=copy-code]")[0].click()
    scripted.act("assistant", "copy")
    scripted.act("user", "copy")
    scripted.wait(lambda: len(texts()) == 3)
    assert texts() == ['print("<b>not bold</b>")', MARKDOWN, "Show *me*."]


HOSTILE = r"""<script>document.title = 'broken'</script>
<img src=x onerror="document.title='broken'"> <svg onload="document.title='broken'"></svg>
<iframe src="http://127.0.0.1:9/frame"></iframe><style>* { display: none }</style>

![picture](http://127.0.0.1:9/pixel.png) ![](data:image/svg+xml,<svg/onload=alert(1)>)
![x" onerror="document.title='broken'](y"onerror="document.title='broken')

[a](javascript:document.title='broken') [b](JaVaScRiPt:document.title='broken') [c](data:text/html,x)
[d](vbscript:x) [e](/v1/models) [f](&#106;avascript:alert(1)) <javascript:alert(1)> [g](https://example.org/"onclick=x)

<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=document.title='broken'&gt;">

| <img src=x onerror=document.title='broken'> | <a href="javascript:alert(1)">x</a> |
|-|-|
| <form action=/x><input name=body></form> | <base href=//127.0.0.1:9/> |

```<img src=x>" onload=document.title='broken'
</code></pre><script>document.title='broken'</script>
```

- <details open ontoggle=document.title='broken'>
- <b id=prompt>clobbered</b>
"""


def test_hostile_markup_stays_text(scripted, server):
    server.answer = HOSTILE
    scripted.answer_to("Show me.")
    assert scripted.driver.title == "Sinkstream"
    allowed = {"P", "BR", "A", "UL", "LI", "TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "DIV", "PRE", "CODE", "HEADER", "SPAN",
               "BUTTON"}
    used = scripted.driver.execute_script(
        "return [...document.querySelectorAll('.assistant .text *')].map((e) => [e.tagName, e.getAttributeNames()]);")
    assert {tag for tag, _ in used} <= allowed
    assert {name for _, names in used for name in names} <= {
        "href", "target", "rel", "class", "tabindex", "type", "data-action", "align"}
    links = [e.get_attribute("href") for e in scripted.find(".assistant a")]
    assert {href for href in links if href} == {"http://127.0.0.1:9/pixel.png", "https://example.org/%22onclick=x"}
    assert "<script>document.title = 'broken'</script>" in scripted.texts("assistant")[0]
    assert "clobbered" in scripted.texts("assistant")[0]


@pytest.mark.parametrize("answer", [
    ">" * 20_000, "*a " * 7_000, "[" * 20_000, "|" * 20_000, "- " * 10_000, "a" * 20_000, "a b\n" * 5_000, "1. x\n" * 4_000,
], ids=["quotes", "stars", "brackets", "bars", "rules", "letters", "lines", "items"])
def test_no_block_is_long_enough_to_be_slow(scripted, server, answer):
    server.answer = [answer]
    scripted.answer_to("Show me.")
    longest, shown = scripted.driver.execute_script(
        "const lengths = [...document.querySelectorAll('.assistant .block')].map((block) => block.textContent.length);"
        "return [Math.max(...lengths), lengths.reduce((a, b) => a + b)];")
    assert longest <= 3001
    assert shown > 0 or set(answer) <= set(">- ")  # nothing but marks


def test_a_very_long_code_block_stays_one(scripted, server):
    code = "x = 1;\n" * 40_000
    server.answer = [f"Look:\n\n```\n{code[:100_000]}", f"{code[100_000:]}```\n\nThat was all."]
    scripted.answer_to("Show me.")
    shown = scripted.driver.execute_script(
        "return [...document.querySelectorAll('.assistant .block')].map((block) => (block.querySelector('pre') ?? block).textContent.trim());")
    assert shown == ["Look:", code.strip(), "That was all."]


def test_a_token_of_a_long_answer_redraws_one_block(scripted, server):
    server.answer = "One paragraph.\n\n" * 500 + "Last."
    scripted.driver.execute_script(
        "window.drawn = 0; new MutationObserver((changes) => { for (const {addedNodes} of changes) for (const node of addedNodes)"
        "  window.drawn += node.classList?.contains('block') ?? 0; }).observe("
        "document.getElementById('transcript'), {subtree: true, childList: true});")
    scripted.answer_to("Show me.")
    drawings = scripted.driver.execute_script("return window.drawn;")
    assert 501 <= drawings < 1500  # each once, and once more for each drawing that found it unfinished


def test_page_stays_at_the_newest_text_until_the_reader_scrolls_up(scripted, server):
    def below():
        return scripted.driver.execute_script(
            "const s = document.getElementById('scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight;")

    for _ in range(3):
        server.answer = MARKDOWN + "A sentence of some words. " * 40
        scripted.answer_to("Show me.")
        scripted.wait(lambda: below() < 2)
    server.hold = threading.Event()
    server.answer = [MARKDOWN * 3, "The end."]
    scripted.send("Show me.")
    scripted.wait(lambda: len(scripted.find(".code")) == 12)
    scripted.driver.execute_script("document.getElementById('scroller').scrollTop -= 400;")
    scripted.wait(scripted.newest.is_displayed)
    server.hold.set()
    scripted.wait(lambda: not scripted.is_writing())
    assert below() > 300
    scripted.newest.click()
    scripted.wait(lambda: below() < 2)


@pytest.mark.parametrize("width", [320, 375])
def test_on_a_phone_nothing_is_wider_than_the_page(scripted, server, width):
    driver = scripted.driver
    metrics = {"width": width, "height": 700, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        server.answer = MARKDOWN + "\n\n`" + "x" * 300 + "`\n\n```\n" + "y" * 300 + "\n```\n|" + "wide cell|" * 30 + "\n|" + "-|" * 30
        scripted.answer_to("z" * 200)
        driver.execute_async_script(
            "const done = arguments[0]; import('/llm/page/session_bar.js').then((bar) => { bar.showSession("
            "  {seen: 123456789, pinned: 4, resident: 32768, evicted: 123424021, exact: false}); done(); });")
        line = driver.execute_script(
            "const words = document.getElementById('session-words'); return [words.scrollWidth <= words.clientWidth,"
            " words.getClientRects().length, words.offsetHeight < 24, document.documentElement.scrollWidth];")
        assert line == [True, 1, True, width]
        assert "seen 123.5M" in scripted.session_words.text and "forgotten 123.4M" in scripted.session_words.text
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

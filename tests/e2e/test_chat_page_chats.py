"""The chat page in a real browser, below a path prefix, with answers that a test gives it."""

import json
import threading

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from chat_page import check_log, chromium, open_page  # noqa: F401: a fixture
from scripted_server import ScriptedServer


@pytest.fixture
def server(group):
    """Writes what a test gives it, behind a path prefix."""
    with ScriptedServer(group.url) as scripted:
        yield scripted


@pytest.fixture
def scripted(chromium, server):
    """The page of `server`, whose port makes it a site of its own: nothing is stored yet."""
    yield open_page(chromium, server.url)
    check_log(chromium)
    assert server.foreign == []

# ---- Markdown. ----

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


# ---- Messages are changed. ----

def sent_texts(server):
    return [[m["content"] for m in body["messages"]] for body in server.requests]


@pytest.fixture
def talk(scripted, server):
    """Two turns: a question, yes, another, no."""
    server.answer = "Yes."
    scripted.answer_to("One?")
    server.answer = "No."
    scripted.answer_to("Two?")
    server.requests.clear()
    server.answer = "New."
    return scripted


def all_texts(page):
    return [e.text for e in page.find(".message .text")]


def test_answer_is_written_anew(talk, server):
    talk.act("assistant", "regenerate")
    talk.wait(lambda: all_texts(talk) == ["One?", "Yes.", "Two?", "New."])
    assert sent_texts(server) == [["One?", "Yes.", "Two?"]]
    talk.wait(lambda: not talk.is_writing())
    talk.undo.click()
    assert all_texts(talk) == ["One?", "Yes.", "Two?", "No."]


def test_an_early_answer_is_written_anew_and_what_followed_can_come_back(talk, server):
    talk.act("user", "regenerate", 0)
    talk.wait(lambda: all_texts(talk) == ["One?", "New."] and not talk.is_writing())
    assert sent_texts(server) == [["One?"]]
    talk.undo.click()
    assert all_texts(talk) == ["One?", "Yes.", "Two?", "No."]


def test_question_is_edited_and_answered_anew(talk, server):
    talk.edit("user", "Three?", "save-and-answer", 0)
    talk.wait(lambda: all_texts(talk) == ["Three?", "New."])
    assert sent_texts(server) == [["Three?"]]


def test_messages_are_edited_in_their_place(talk, server):
    talk.edit("user", "Three?", "save", 0)
    talk.edit("assistant", "**Maybe**", "save", 0)
    assert all_texts(talk) == ["Three?", "Maybe", "Two?", "No."]
    talk.answer_to("Well?")
    assert sent_texts(server) == [["Three?", "**Maybe**", "Two?", "No.", "Well?"]]


def test_editing_can_be_given_up(talk, server):
    talk.act("assistant", "edit", 0)
    talk.press("something", Keys.ESCAPE)
    assert all_texts(talk) == ["One?", "Yes.", "Two?", "No."] and talk.find(".editor") == []
    assert talk.texts("assistant")[0] == "Yes."


def test_message_is_deleted_and_comes_back(talk, server):
    talk.act("assistant", "delete", 0)
    assert all_texts(talk) == ["One?", "Two?", "No."]
    talk.undo.click()
    assert all_texts(talk) == ["One?", "Yes.", "Two?", "No."]
    talk.act("user", "delete", 0)
    talk.reload()
    assert all_texts(talk) == ["Yes.", "Two?", "No."]


# ---- Chats are kept. ----

def test_chats_are_kept_across_a_reload(talk, server):
    talk.reload()
    assert all_texts(talk) == ["One?", "Yes.", "Two?", "No."] and len(talk.notes()) == 2
    talk.new_chat.click()
    talk.answer_to("Another <b>chat</b>?")
    talk.reload()
    assert all_texts(talk) == ["Another <b>chat</b>?", "New."]
    talk.toggle_chats.click()
    assert talk.titles() == ["Another <b>chat</b>?", "One?"]
    talk.find("#chat-list .open")[1].click()
    assert all_texts(talk) == ["One?", "Yes.", "Two?", "No."]
    talk.answer_to("Three?")
    assert sent_texts(server)[-1] == ["One?", "Yes.", "Two?", "No.", "Three?"]


def test_chat_is_deleted_and_comes_back(talk):
    talk.toggle_chats.click()
    talk.find("#chat-list [data-action=delete]")[0].click()
    assert talk.titles() == [] and talk.welcome.is_displayed()
    talk.undo.click()
    assert talk.titles() == ["One?"] and len(all_texts(talk)) == 4


def test_an_answer_under_way_is_kept_by_a_reload(scripted, server):
    server.hold = threading.Event()
    server.answer = ["The beginning", " and the end."]
    scripted.send("Tell me.")
    scripted.wait(lambda: scripted.texts("assistant") == ["The beginning"])
    scripted.reload()
    server.hold.set()
    assert all_texts(scripted) == ["Tell me.", "The beginning"]
    assert "stopped" in scripted.notes()[0]


def test_another_chat_is_opened_while_an_answer_is_written(talk, server):
    server.hold = threading.Event()
    server.answer = ["The beginning", " and the end."]
    talk.send("Tell me.")
    talk.wait(lambda: talk.texts("assistant")[-1] == "The beginning")
    talk.new_chat.click()
    server.hold.set()
    assert all_texts(talk) == [] and not talk.is_writing()
    talk.toggle_chats.click()
    talk.find("#chat-list .open")[0].click()
    assert all_texts(talk)[-2:] == ["Tell me.", "The beginning"]


def test_old_chats_make_room(scripted):
    scripted.driver.execute_script(
        "for (let i = 0; i < 4; i++) localStorage.setItem('sinkstream.chat.' + i, JSON.stringify("
        "  {id: String(i), updated: i, messages: [{role: 'user', content: i + 'x'.repeat(600000)}]}));"
        "localStorage.setItem('sinkstream.chat.bad', '{not json'); localStorage.setItem('sinkstream.chat.odd', '[3]');")
    scripted.answer_to("New?")
    assert "2 dropped" not in scripted.notice.text and "1 dropped" in scripted.notice.text
    scripted.toggle_chats.click()
    assert [title[:4] for title in scripted.titles()] == ["New?", "3xxx", "2xxx", "1xxx"]


@pytest.mark.parametrize("fault", [
    "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
    "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});",
])
def test_a_browser_that_keeps_nothing_still_talks(scripted, fault):
    scripted.driver.execute_script(fault)
    assert scripted.answer_to("Hello?") == "Yes."
    assert "Export the chat to keep it" in scripted.notice.text
    assert scripted.answer_to("Again?") == "Yes."


def test_chats_are_exported_and_imported(talk, server):
    talk.toggle_chats.click()
    talk.export_all.click()
    file = talk.driver.downloads / "chats.json"
    talk.wait(file.exists)
    talk.driver.execute_script("localStorage.clear(); sessionStorage.clear();")
    talk.reload()
    assert all_texts(talk) == []
    talk.import_file.send_keys(str(file))
    talk.wait(lambda: all_texts(talk) == ["One?", "Yes.", "Two?", "No."])
    talk.reload()
    assert len(all_texts(talk)) == 4


def test_messages_of_others_are_imported_and_nonsense_is_refused(scripted, tmp_path):
    def take(name, text):
        (tmp_path / name).write_text(text)
        scripted.import_file.send_keys(str(tmp_path / name))
        scripted.wait(lambda: scripted.notice.is_displayed() and name in scripted.notice.text or scripted.find(".message"))

    for text in ("{", "[]", "3", "null", '{"messages": []}', '[{"role": "user", "content": 3}]', '{"chats": [null]}',
                 '[{"role": "wizard", "content": "x"}]'):
        scripted.driver.execute_script("document.getElementById('close-notice').click();")
        take("bad.json", text)
        assert "bad.json holds no chat" in scripted.notice.text and all_texts(scripted) == []
    take("good.json", json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"},
                                  {"role": "assistant", "content": [{"type": "text", "text": "*Me*"}]}]))
    assert all_texts(scripted) == ["Who?", "Me"]
    assert scripted.system.get_attribute("value") == "Be brief."


# ---- Settings, keyboard, phone. ----

def test_every_sampler_is_sent_as_it_is_set(scripted, server):
    values = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.2, "presence_penalty": 0.3,
              "frequency_penalty": -0.25, "max_tokens": 33, "seed": 7}
    scripted.answer_to("Plain?")
    for name, value in values.items():
        scripted.set(name, str(value))
    scripted.set("stop-strings", "END\n\\n\\nUser:")
    scripted.answer_to("Set?")
    scripted.reload()
    scripted.answer_to("Kept?")
    scripted.driver.execute_script("document.getElementById('reset-settings').click();")
    scripted.answer_to("Reset?")
    plain, given, kept, reset = [{k: v for k, v in body.items() if k not in ("messages", "stream", "stream_options")}
                                 for body in server.requests]
    assert plain == reset == {"temperature": 0.8, "top_p": 0.95, "max_tokens": 512}
    assert given == kept == values | {"stop": ["END", "\n\nUser:"]}


def test_an_endless_answer_is_penalized_for_repeating_itself(scripted, server):
    scripted.find("[data-endless]")[0].click()
    scripted.wait(lambda: scripted.notes() and not scripted.is_writing())
    scripted.set("ignore_eos", True)
    scripted.answer_to("Go on.")
    scripted.set("frequency_penalty", "0.2")
    scripted.answer_to("Go on.")
    assert all(body["ignore_eos"] for body in server.requests)
    story, on, own = [(body.get("repetition_penalty", 1), body.get("frequency_penalty", 0)) for body in server.requests]
    assert story[0] > 1 and on == story
    assert own == (1, 0.2)  # the reader's own penalty alone


def test_keyboard(talk, server):
    talk.press(Keys.ALT, "r")
    talk.wait(lambda: all_texts(talk)[-1] == "New." and not talk.is_writing())
    talk.prompt.send_keys(Keys.ARROW_UP)
    assert talk.driver.switch_to.active_element.get_attribute("value") == "Two?"
    talk.press(Keys.ESCAPE)
    assert talk.driver.switch_to.active_element.get_attribute("id") == "prompt"
    talk.press("what? a/b")
    assert talk.prompt.get_attribute("value") == "what? a/b" and not talk.help.is_displayed()
    talk.press(Keys.ALT, "s")
    assert talk.settings.is_displayed()
    talk.press(Keys.ESCAPE)
    talk.press(Keys.ALT, "c")
    assert talk.chats.is_displayed() and not talk.settings.is_displayed()
    talk.press("?")
    assert talk.help.is_displayed()
    talk.press(Keys.ESCAPE)
    assert not talk.help.is_displayed() and talk.chats.is_displayed()
    talk.press("/")
    assert talk.driver.switch_to.active_element.get_attribute("id") == "prompt"
    talk.press(Keys.ALT, "n")
    assert all_texts(talk) == []


def test_dark_and_light_can_be_chosen(scripted):
    def paper():
        return scripted.driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")

    scripted.set("theme", "light")
    light = paper()
    scripted.set("theme", "dark")
    dark = paper()
    scripted.reload()
    assert paper() == dark != light


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

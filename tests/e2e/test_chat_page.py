"""The chat page in a real browser against a real group."""

import json

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from chat_page import check_log, chromium, open_page  # noqa: F401: a fixture
from novels import read_novel


@pytest.fixture
def page(chromium, group):
    chromium.get(group.url)
    chromium.execute_script("localStorage.clear(); sessionStorage.clear();")
    page = open_page(chromium, group.url)
    page.set("max_tokens", "60")
    yield page
    check_log(chromium)


def test_answer_appears_while_it_is_written(page):
    page.set("max_tokens", "400")
    page.set("ignore_eos", True)
    page.driver.execute_script(
        "window.shown = new Set(); new MutationObserver(() => {"
        "  const text = [...document.querySelectorAll('.assistant .text')].at(-1)?.textContent;"
        "  if (text && !document.getElementById('stop').hidden) window.shown.add(text.length);"
        "}).observe(document.getElementById('transcript'), {subtree: true, childList: true, characterData: true});")
    page.send("Good evening, sir.")
    page.wait(lambda: page.notes() and not page.is_writing())
    shown = page.driver.execute_script("return [...window.shown];")
    assert shown and min(shown) < len(page.texts("assistant")[-1])
    assert page.texts("user") == ["Good evening, sir."]
    assert "400 tokens · " in page.notes()[-1] and "tokens/s" in page.notes()[-1]
    assert "reached the longest answer" in page.notes()[-1]


def test_conversation_continues(page):
    page.answer_to("Good evening, sir.")
    page.answer_to("And where is your brother?")
    assert len(page.texts("user")) == len(page.texts("assistant")) == 2
    assert "seen" in page.session_words.text and page.forgotten() == 0


def test_stop_ends_the_answer_and_the_next_one_works(page):
    page.set("ignore_eos", True)
    page.set("max_tokens", "100000")
    page.send("Tell me all.")
    page.wait(lambda: page.texts("assistant")[-1:] > [""])
    page.stop.click()
    page.wait(lambda: not page.is_writing())
    assert "stopped" in page.notes()[-1]
    assert page.problems() == []
    page.set("ignore_eos", False)
    page.set("max_tokens", "20")
    assert page.answer_to("And then?")


def test_page_shows_what_a_long_text_made_it_forget(page):
    page.answer_to(read_novel("Doyle_Hound_1902", 8000))
    assert "resident 256 (4 sinks + 252 window)" in page.session_words.text
    assert page.forgotten() > 1000
    assert f"forgotten {page.forgotten():,}" in page.strip.get_attribute("aria-label")
    grey = page.greyed()
    assert grey.startswith(read_novel("Doyle_Hound_1902", 10))
    assert 7000 < len(grey) < 8000


def test_same_seed_gives_the_same_answer_in_a_new_chat(page):
    page.set("seed", "11")
    first = page.answer_to("Who is there?")
    page.new_chat.click()
    assert page.texts("user") == []
    assert page.welcome.is_displayed()
    assert page.answer_to("Who is there?") == first


def test_markup_stays_text(page):
    markup = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    page.answer_to(markup)
    assert page.texts("user") == [markup]
    assert page.driver.find_elements(By.CSS_SELECTOR, "#transcript img, #transcript script") == []
    assert page.driver.title == "Sinkstream"


def test_server_error_is_shown_and_can_be_tried_again(page):
    page.driver.execute_script(
        "const real = window.fetch; let refused = false;"
        "window.fetch = (path, ...rest) => {"
        "  if (refused || !path.includes('chat')) return real(path, ...rest);"
        "  refused = true;"
        "  const body = JSON.stringify({error: {message: 'The queue is full.'}});"
        "  return Promise.resolve(new Response(body, {status: 429, headers: {'Retry-After': '2'}}));"
        "};")
    page.send("Good evening.")
    page.wait(page.problems)
    assert page.problems() == ["The queue is full. Try again in 2 seconds."]
    page.driver.find_element(By.CSS_SELECTOR, ".problem button").click()
    page.wait(lambda: page.notes() and not page.is_writing())
    assert page.problems() == []
    assert len(page.texts("user")) == len(page.texts("assistant")) == 1


def sent_bodies(page):
    return [json.loads(body) for body in page.driver.execute_script("return window.sent;")]


def answer_with(page, status, message):
    """Lets the first request for an answer be refused, and keeps all their bodies."""
    page.driver.execute_script(
        "const real = window.fetch; window.sent = [];"
        "window.fetch = (path, options) => {"
        "  if (!path.includes('chat')) return real(path, options);"
        "  if (window.sent.push(options.body) > 1) return real(path, options);"
        "  const body = JSON.stringify({error: {message: arguments[1]}});"
        "  return Promise.resolve(new Response(body, {status: arguments[0]}));"
        "};".replace("arguments[0]", str(status)).replace("arguments[1]", json.dumps(message)))


def try_again(page):
    page.driver.find_element(By.CSS_SELECTOR, ".problem button").click()
    page.wait(lambda: page.notes() and not page.is_writing())


def test_trying_again_uses_the_settings_as_they_are_now(page):
    page.set("max_tokens", "2000000")
    answer_with(page, 400, "'max_tokens' must be at most 1000000.")
    page.send("Good evening.")
    page.wait(page.problems)
    assert page.problems() == ["'max_tokens' must be at most 1000000."]
    page.set("max_tokens", "5")
    page.set("temperature", "0.5")
    try_again(page)
    assert page.problems() == []
    assert [(body["max_tokens"], body["temperature"]) for body in sent_bodies(page)] == [(2000000, 0.8), (5, 0.5)]


def test_trying_an_endless_story_again_keeps_it_endless(page):
    answer_with(page, 503, "Not now.")
    page.driver.find_element(By.CSS_SELECTOR, "[data-endless]").click()
    page.wait(page.problems)
    page.driver.find_element(By.CSS_SELECTOR, ".problem button").click()
    page.wait(lambda: page.is_writing() and page.texts("assistant")[-1:] > [""])
    page.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    page.wait(lambda: not page.is_writing())
    assert "stopped" in page.notes()[-1]
    for body in sent_bodies(page):
        assert body["max_tokens"] == 100000 and body["ignore_eos"]


def test_missing_key_is_explained_and_can_be_given(page):
    answer_with(page, 401, "An API key is needed.")
    page.send("Good evening.")
    page.wait(page.problems)
    assert page.problems() == ["An API key is needed. Set it under Settings."]
    page.set("api-key", "secret")
    try_again(page)
    assert page.problems() == []


@pytest.mark.parametrize("field, value", [("seed", "1.5"), ("max_tokens", "0"), ("max_tokens", "2.5")])
def test_a_bad_setting_is_refused_by_its_own_field(page, field, value):
    answer_with(page, 500, "This must not be sent.")
    page.set(field, value)
    page.send("Good evening.")
    assert page.settings.is_displayed()
    assert page.driver.switch_to.active_element.get_attribute("id") == field
    assert page.prompt.get_attribute("value") == "Good evening."
    assert page.texts("user") == [] and sent_bodies(page) == []


def test_escape_closes_the_settings_then_stops_the_answer(page):
    page.set("max_tokens", "5000")
    page.set("ignore_eos", True)
    page.send("Good evening.")
    page.wait(lambda: page.is_writing() and page.texts("assistant")[-1:] > [""])
    page.toggle_settings.click()
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.settings.is_displayed()
    assert page.is_writing()
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.wait(lambda: not page.is_writing())
    assert "stopped" in page.notes()[-1]


def test_shift_enter_makes_a_new_line(page):
    page.prompt.send_keys("one", Keys.SHIFT + Keys.ENTER, Keys.NULL, "two")
    assert page.prompt.get_attribute("value") == "one\ntwo"
    assert page.texts("user") == []


def test_system_prompt_is_sent_and_chat_can_be_exported(page):
    page.set("system", "You are a captain.")
    answer = page.answer_to("Good evening.")
    page.toggle_chats.click()
    page.export.click()
    file = page.driver.downloads / "chat.json"
    page.wait(file.exists)
    chat = json.loads(file.read_text())
    assert [m["role"] for m in chat["messages"]] == ["system", "user", "assistant"]
    assert chat["messages"][2]["content"].split() == answer.split()


def test_controls_are_labelled(page):
    page.answer_to("Good evening.")
    page.toggle_chats.click()
    page.toggle_settings.click()
    page.act("user", "edit")
    for control in page.find("button, input, textarea, select"):
        assert control.accessible_name or not control.is_displayed(), control.get_attribute("outerHTML")
    page.driver.find_element(By.ID, "close-settings").click()
    assert not page.settings.is_displayed()


def test_the_server_takes_what_the_page_sends(page):
    for name, value in {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": -0.25,
                        "repeat_last_n": 64, "seed": 7, "stop-strings": "END\n\\n\\nUser:"}.items():
        page.set(name, str(value))
    page.set("ignore_eos", True)
    assert page.answer_to("Good evening.")

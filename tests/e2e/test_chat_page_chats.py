"""What a reader does with chats of the page: messages are changed, chats kept, settings set. A test gives the answers."""

import json
import threading

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from chat_page import chromium  # noqa: F401: a fixture
from scripted_server import scripted, server  # noqa: F401: fixtures

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


# ---- Settings, keyboard. ----

def test_every_sampler_is_sent_as_it_is_set(scripted, server):
    values = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.2, "presence_penalty": 0.3,
              "frequency_penalty": -0.25, "repeat_last_n": 64, "max_tokens": 33, "seed": 7}
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
    penalties = ("repetition_penalty", "frequency_penalty", "repeat_last_n")
    story, on, own = [{name: body[name] for name in penalties if name in body} for body in server.requests]
    assert story["repetition_penalty"] > 1 and story["repeat_last_n"] > 0 and on == story
    assert own == {"frequency_penalty": 0.2}  # the reader's own penalty alone


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

"""Drives the chat page in a real browser."""

import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from group import PATIENCE_SECONDS


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")  # Debian's name, Ubuntu's
    if not browser and os.environ.get("CI") != "true":
        pytest.skip("no Chromium here: launch/install test says why")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", "--window-size=1100,900"):
        options.add_argument(argument)
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.downloads = downloads
    yield driver
    driver.quit()


class ChatPage:
    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)

    def __getattr__(self, name):
        return self.driver.find_element(By.ID, name.replace("_", "-"))

    def wait(self, condition, seconds=PATIENCE_SECONDS):
        return WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(lambda _: condition())

    def set(self, name, value):
        """Fills in a control without opening the settings."""
        self.driver.execute_script(
            "const c = document.getElementById(arguments[0]);"
            "if (c.type === 'checkbox') c.checked = arguments[1]; else c.value = arguments[1];"
            "c.dispatchEvent(new Event('input', {bubbles: true}));", name, value)

    def send(self, text):
        self.set("prompt", text)
        self.prompt.send_keys(Keys.ENTER)

    def texts(self, role):
        return [e.text for e in self.driver.find_elements(By.CSS_SELECTOR, f".{role} .text")]

    def notes(self):
        return [e.text for e in self.driver.find_elements(By.CSS_SELECTOR, ".note")]

    def problems(self):
        return [e.text for e in self.driver.find_elements(By.CSS_SELECTOR, ".problem span")]

    def is_writing(self):
        return self.stop.is_displayed()

    def answer_to(self, text):
        before = len(self.notes())
        self.send(text)
        self.wait(lambda: len(self.notes()) > before and not self.is_writing())
        assert self.problems() == []
        return self.texts("assistant")[-1]

    def greyed(self):
        return self.driver.execute_script(
            "return [...CSS.highlights.get('forgotten') ?? []].map((range) => range.toString()).join('');")

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def act(self, role, action, index=-1):
        """Presses a button under a message."""
        messages = self.driver.find_elements(By.CSS_SELECTOR, f".message.{role}")
        messages[index].find_element(By.CSS_SELECTOR, f"[data-action={action}]").click()

    def edit(self, role, text, action, index=-1):
        self.act(role, "edit", index)
        field = self.driver.switch_to.active_element
        field.clear()
        field.send_keys(text)
        self.driver.find_element(By.CSS_SELECTOR, f".editor [data-action={action}]").click()
        self.wait(lambda: not self.is_writing())

    def reload(self):
        self.driver.refresh()
        self.wait(lambda: self.model.text == "demo")

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def titles(self):
        return [e.get_attribute("title") for e in self.find("#chat-list .open")]

    def forgotten(self):
        return int(self.session_words.text.rpartition("forgotten ")[2].replace(",", ""))


def open_page(chromium, url):
    chromium.get_log("browser")
    page = ChatPage(chromium, url)
    page.wait(lambda: page.model.text == "demo")
    return page


def check_log(chromium):
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []

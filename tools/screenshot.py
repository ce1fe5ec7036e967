#!/usr/bin/env python3
"""Takes the picture of the chat page that the README shows, from a running server:

    launch/serve &
    .venv/bin/python tools/screenshot.py --output docs/images/chat.png
"""

import argparse

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

TURNS = [
    "Good evening, sir. You look as if you had come a long way.",
    "And what brought you out upon the moor on such a night?",
    "I should like to hear the whole story, from the beginning.",
    "Did no one warn you of the danger?",
    "And what became of the old house afterwards?",
    "Then I am glad that you have come to us, and I hope that you will stay until the roads are dry again.",
    "Pray sit down by the fire, and tell me what the old gentleman said to you when you left him.",
    "He was always a strange man, and the whole village was afraid of his temper and of his great black dog.",
    "My father used to say that there was never a kinder heart in all the county, if one only knew him well.",
    "But it is late, and you must be tired after such a journey. Shall I show you to your room?",
]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/")
    parser.add_argument("--output", default="docs/images/chat.png")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=980,860"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        driver.get(arguments.url)
        wait = WebDriverWait(driver, 60, poll_frequency=0.1)
        for turn, text in enumerate(TURNS, 1):
            driver.execute_script(
                "const c = document.getElementById('seed'); c.value = arguments[0];"
                "c.dispatchEvent(new Event('input', {bubbles: true}));", str(arguments.seed + turn))
            prompt = driver.find_element(By.ID, "prompt")
            prompt.send_keys(text, Keys.ENTER)
            wait.until(lambda _: len(driver.find_elements(By.CSS_SELECTOR, ".note")) >= turn
                       and not driver.find_element(By.ID, "stop").is_displayed())
        driver.save_screenshot(arguments.output)
    finally:
        driver.quit()


if __name__ == "__main__":
    main()

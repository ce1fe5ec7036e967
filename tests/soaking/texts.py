"""What the sessions read: the four novels of tests/data/text, one behind the other and round again."""

import json
import lzma
import urllib.request
from pathlib import Path

NOVELS = Path(__file__).resolve().parents[1] / "data/text"
CHARACTERS_A_CALL = 200_000  # well below what a server takes as one body


def tokenize(url, text):
    body = json.dumps({"prompt": text, "add_special_tokens": False}).encode()
    request = urllib.request.Request(f"{url}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)["tokens"]


def begin_tokens(url):
    """What the model's tokenizer puts before a text: the sink that it was trained with, if any."""
    body = json.dumps({"prompt": "a"}).encode()
    request = urllib.request.Request(f"{url}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        with_begin = json.load(response)["tokens"]
    return with_begin[:len(with_begin) - len(tokenize(url, "a"))]


def novel_tokens(url):
    tokens = []
    for path in sorted(NOVELS.glob("*.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            while part := file.read(CHARACTERS_A_CALL):
                tokens += tokenize(url, part)
    return tokens


def prompts(url, sessions, tokens):
    """One prompt of so many tokens for each session, each from another place of the novels."""
    novels, begin = novel_tokens(url), begin_tokens(url)
    texts = []
    for session in range(sessions):
        start = session * len(novels) // sessions
        wanted = tokens - len(begin)
        rounds = -(-(start + wanted) // len(novels))
        texts.append(begin + (novels * rounds)[start:start + wanted])
    return texts

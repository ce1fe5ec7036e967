#!/usr/bin/env python3
"""Holds our chat templates against the real Jinja2, as `transformers` sets it up.

  check_templates.py write                writes tests/data/templates/published_cases.json
  check_templates.py compare PATH...      *.jinja files and tokenizer_config.json files, also in folders
  check_templates.py fuzz [SECONDS] [SEED]  random templates, composed from a grammar

pip install transformers jinja2; cmake --build build/release --target render_templates
"""
import argparse
import datetime
import json
import pathlib
import random
import re
import subprocess
import sys
import time

import jinja2
import tokenizers
import transformers
from transformers.utils import chat_template_utils

import template_grammar

ROOT = pathlib.Path(__file__).parents[1]
DATA = ROOT / "tests/data/templates"
RENDERER = ROOT / "build/release/tests/text/render_templates"
NOW = datetime.datetime(2024, 7, 26, 12, 30)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a town.\nIn degrees.",
    "parameters": {"type": "object", "properties": {
        "town": {"type": "string", "description": "e.g. \"Łódź\""},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": ["integer", "null"], "default": 1}}, "required": ["town"]},
    "return": {"type": "number"}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, call_id):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = message("system", "You are  helpful.\n")
HELLO = message("user", "Hello, how are you?")
FINE = message("assistant", "I'm doing great. How can I help?")
MORE = message("user", " Tell me \"more\" {{ x }} <b>&amp;'</b> \\n.\n\n")
CALLED = message("assistant", None, tool_calls=[call("get_weather", {"town": "Łódź", "days": 2, "f": 1.5, "x": [True, None]}, "call12345")])
RESULT = message("tool", "{\"degrees\": 21.5}", name="get_weather", tool_call_id="call12345")

# Name, messages, tools, continue the last message.
CONVERSATIONS = [
    ("one message", [HELLO], None, False),
    ("system", [SYSTEM, HELLO], None, False),
    ("several turns", [HELLO, FINE, MORE], None, False),
    ("system and several turns", [SYSTEM, HELLO, FINE, MORE, FINE, HELLO], None, False),
    ("ends with the assistant", [SYSTEM, HELLO, FINE], None, False),
    ("scripts and spaces", [message("user", "\t naïve café 日本語 🦙 \u200b\u0301\n")], None, False),
    ("empty", [message("system", ""), message("user", ""), message("assistant", ""), message("user", "x")], None, False),
    ("two users", [HELLO, MORE], None, False),
    ("assistant first", [FINE, HELLO], None, False),
    ("system in the middle", [HELLO, SYSTEM, FINE], None, False),
    ("reasoning", [HELLO, message("assistant", "<think>\nhm\n</think>\n\nYes."), MORE,
                   message("assistant", "No.", reasoning_content="why\n"), HELLO], None, False),
    ("tools", [SYSTEM, HELLO], [WEATHER, CLOCK], False),
    ("tools without system", [HELLO], [WEATHER], False),
    ("tool call", [SYSTEM, HELLO, CALLED, RESULT], [WEATHER, CLOCK], False),
    ("tool call answered", [HELLO, CALLED, RESULT, FINE, MORE], [WEATHER], False),
    ("tool call with text", [HELLO, {**CALLED, "content": "Let me see."}, RESULT, message("tool", "x")], None, False),
    ("two tool calls", [HELLO, message("assistant", "", tool_calls=[call("clock", {}, "a00000001"), call("clock", {}, "a00000002")]),
                        message("tool", "1", tool_call_id="a00000001"), message("tool", "2", tool_call_id="a00000002")], [CLOCK], False),
    ("arguments as text", [HELLO, message("assistant", "", tool_calls=[call("clock", "{\"a\": 1}", "a00000001")])], None, False),
    ("continued", [SYSTEM, HELLO, message("assistant", "Once upon ")], None, True),
    ("parts", [SYSTEM, message("user", [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}])], None, False),
]
TAKES_PARTS = re.compile(r"for \w+ in [^%]*content|content\S* *\| *(selectattr|map)")


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FixedClock


def oracle(source, messages, tools, add_generation_prompt, continues):
    """What transformers makes of it; an error is the template's own message, or empty."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()), chat_template=source, **TOKENS)
    try:
        return {"text": tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=add_generation_prompt, continue_final_message=continues, tokenize=False)}
    except Exception as error:  # whatever a template can run into
        raised = type(error) is jinja2.exceptions.TemplateError  # by raise_exception
        return {"error": str(error)} if raised else {"error": ""}


class Renderer:
    """Ours."""

    def __init__(self):
        if not RENDERER.exists():
            sys.exit(f"{RENDERER} is missing: cmake --build build/release --target render_templates")
        self.process = subprocess.Popen([RENDERER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def render(self, source, messages, tools, add_generation_prompt, continues):
        self.process.stdin.write(json.dumps({
            "template": source, "special_tokens": TOKENS, "messages": messages, "tools": tools, "now": int(NOW.timestamp()),
            "add_generation_prompt": add_generation_prompt, "continue_final_message": continues}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def cases(source):
    for number, (name, messages, tools, continues) in enumerate(CONVERSATIONS):
        if name == "parts" and not TAKES_PARTS.search(source):
            continue  # we join the parts for such a template, which transformers does not
        for add in [False] if continues else [True, False]:
            yield number, messages, tools, add, continues


def show(kind, name, source, expected, found):
    a, b = expected.get("text", "") if "text" in expected else repr(expected), found.get("text", "") if "text" in found else repr(found)
    same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    same = max(0, same - 60)
    print(f"--- {kind} {name}\n{source}\n  transformers: {same}: {a[same:same + 300]!r}\n  ours:         {same}: {b[same:same + 300]!r}")


def templates(paths):
    for path in paths:
        path = pathlib.Path(path)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix == ".jinja":
                yield str(file), file.read_text(encoding="utf-8")
            elif file.name == "tokenizer_config.json":
                found = json.loads(file.read_text(encoding="utf-8")).get("chat_template")
                for entry in found if isinstance(found, list) else [{"name": "default", "template": found}] if found else []:
                    yield f"{file}:{entry['name']}", entry["template"]


def compare(paths):
    renderer = Renderer()
    same = different = errors = files = 0
    for file, source in templates(paths):
        files += 1
        for number, *case in cases(source):
            expected, found = oracle(source, *case), renderer.render(source, *case)
            equal = expected == found if "text" in expected else "error" in found and expected["error"] in found["error"]
            same, different, errors = same + equal, different + (not equal), errors + ("error" in expected)
            if not equal:
                show(file, CONVERSATIONS[number][0], "", expected, found)
    print(f"{files} templates, {same + different} cases ({errors} of them errors), {different} different")
    return different == 0


def write():
    entries = []
    for file, source in templates([DATA / "published"]):
        rows = []
        for number, *case in cases(source):
            rows.append({"conversation": number, "add_generation_prompt": case[2], **oracle(source, *case)})
        entries.append({"file": pathlib.Path(file).name, "cases": rows})
    conversations = [{"name": name, "messages": messages, "tools": tools, "continue_final_message": continues}
                     for name, messages, tools, continues in CONVERSATIONS]
    text = json.dumps({"now": int(NOW.timestamp()), "special_tokens": TOKENS, "conversations": conversations, "templates": entries},
                      ensure_ascii=False, indent=0)
    (DATA / "published_cases.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(entries)} templates, {sum(len(entry['cases']) for entry in entries)} cases")
    return True


def fuzz(seconds, seed):
    renderer = Renderer()
    end = time.monotonic() + seconds
    messages, tools = [SYSTEM, HELLO, CALLED, RESULT, MORE], [WEATHER, CLOCK]
    plain = [{key: value for key, value in entry.items() if value is not None} for entry in messages]
    total = good = different = 0
    while time.monotonic() < end and different < 30:
        source = template_grammar.template(random.Random(seed + total))
        total += 1
        found = renderer.render(source, messages, tools, True, False)
        try:
            compiled = chat_template_utils._compile_jinja_template.__wrapped__(source)
            expected = {"text": compiled.render(messages=plain, tools=tools, documents=None, add_generation_prompt=True, **TOKENS)}
        except Exception as error:
            expected = {"error": f"{type(error).__name__}: {error}"}
        good += "text" in expected
        if "object at 0x" in str(expected) or template_grammar.is_known_difference(expected, found):
            continue
        if expected.keys() != found.keys() or ("text" in expected and expected != found):
            different += 1
            show("seed", seed + total - 1, source, expected, found)
    print(f"{total} templates, {good} of them good, {different} different")
    return different == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write")
    commands.add_parser("compare").add_argument("paths", nargs="+", metavar="PATH")
    fuzzing = commands.add_parser("fuzz")
    fuzzing.add_argument("seconds", nargs="?", type=float, default=60)
    fuzzing.add_argument("seed", nargs="?", type=int, default=1)
    given = parser.parse_args()
    done = {"write": write, "compare": lambda: compare(given.paths), "fuzz": lambda: fuzz(given.seconds, given.seed)}[given.command]()
    sys.exit(0 if done else 1)


if __name__ == "__main__":
    main()

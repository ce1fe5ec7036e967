#!/usr/bin/env python3
"""The questions of hound_continuation.yaml, made of The Hound of the Baskervilles; always the same:

tools/lm_eval/make_questions.py >hound_continuation.jsonl
"""

import json
import lzma
import random
import re
from pathlib import Path

NOVEL = Path(__file__).resolve().parents[2] / "tests/data/text/Doyle_Hound_1902.txt.xz"
QUESTIONS = 100


def second_half(words):
    return " ".join(words[len(words) // 2:])


def questions(text):
    """Two sentences and half of a third; its other half among those of three sentences from elsewhere."""
    sentences = re.findall(r'[A-Z“"][^.!?]{40,220}[.!?]["”]?', re.sub(r"\s+", " ", text))
    choose = random.Random(1)
    places = list(range(200, len(sentences) - 4))
    choose.shuffle(places)
    for place in places:
        words = sentences[place + 2].split()
        if len(words) < 8:
            continue
        right, wrong = second_half(words), []
        while len(wrong) < 3:
            other = second_half(sentences[choose.choice(places)].split())
            if other not in [right, *wrong]:
                wrong.append(other)
        gold = choose.randrange(4)
        context = " ".join([*sentences[place:place + 2], *words[:len(words) // 2]])
        yield {"context": context, "choices": [*wrong[:gold], right, *wrong[gold:]], "gold": gold}


if __name__ == "__main__":
    for question, _ in zip(questions(lzma.open(NOVEL, "rt", encoding="utf-8").read()), range(QUESTIONS)):
        print(json.dumps(question))

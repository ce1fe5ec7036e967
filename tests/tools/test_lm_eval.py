"""The questions that lm-evaluation-harness is given are always the same, and fit their task."""

import hashlib
import json
import subprocess

import yaml

from gguf_files import PROJECT

FILES = PROJECT / "tools/lm_eval"


def test_the_questions_fit_their_task_and_are_always_the_same():
    made = subprocess.run([FILES / "make_questions.py"], capture_output=True, check=True, timeout=60).stdout
    assert hashlib.sha256(made).hexdigest() == "616d95f05b08abb2a9d2910cbb0a9c4e74d53a0b3a24ecf2c0ebd0dde10c3190"
    questions = [json.loads(line) for line in made.splitlines()]
    assert len(questions) == 100 and questions[0]["choices"][questions[0]["gold"]] == "train began to glide down the platform."
    assert all(len(set(question["choices"])) == 4 for question in questions)
    task = yaml.safe_load((FILES / "hound_continuation.yaml").read_text())
    for field in ["doc_to_text", "doc_to_choice", "doc_to_target"]:
        assert task[field].strip("{}") in questions[0]

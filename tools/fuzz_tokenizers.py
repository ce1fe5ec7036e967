"""Compares this project's tokenizers with the `tokenizers` library on random Unicode strings.

  python tools/fuzz_tokenizers.py --bench build/release/tools/stream-bench TOKENIZER.JSON...
  python tools/fuzz_tokenizers.py --bench build/release/tools/stream-bench --composed 200 TOKENIZER.JSON...

Every string is encoded with and without special tokens, its tokens and random ones are decoded with and without
them, whole and as a stream. With --composed, the vocabularies given are used for so many random combinations of
normalizers, pre-tokenizers, decoders, model settings and added tokens. Exits with 1 at any difference.
Needs the package `tokenizers`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # noqa: E402 (after the environment)

SCRIPTS = [
    (0x20, 0x7E), (0x41, 0x7A), (0x30, 0x39), (0xA0, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF),
    (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2070, 0x209F), (0x2100, 0x214F), (0x2460, 0x24FF), (0x3000, 0x30FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF),
    (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0xE0000, 0xE007F), (0, 0x1F), (0x7F, 0x9F),
]
FRAGMENTS = [
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2581", "\u2581\u2581", "'s", "'LL", "don't",
    "I've", "the", " the", "The ", "hello world", "123", "1234567", "3.14", "...", "!?", "--", "==", "/*", "\u200d",
    "\ufe0f", "\U0001f469\u200d\U0001f680", "\U0001f1e9\U0001f1ea", "e\u0301", "\u1e9b\u0323", "\ufb01",
    "\u0344", "\u212b", "<0x0A>", "<0xE2>", "</s", "<s", "<|", "|>", "\ufffd", "\u017f", "\u212a", "\u0130", "na\u00efve",
    "\u4f60\u597d", "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155", "\u0645\u0631\u062d\u0628\u0627",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0928\u092e\u0938\u094d\u0924\u0947", "a" * 40, "\u0301" * 20, "x" * 70,
]


def random_character(rng):
    if rng.random() < 0.1:
        while True:
            code = rng.randrange(0x110000)
            if not 0xD800 <= code < 0xE000:
                return chr(code)
    first, last = rng.choice(SCRIPTS)
    return chr(rng.randint(first, last))


def random_string(rng, lookalikes):
    parts = []
    for _ in range(rng.choice([0, 1, 2, 4, 8, 16, 30])):
        kind = rng.random()
        if kind < 0.35:
            parts.append(rng.choice(FRAGMENTS))
        elif kind < 0.5 and lookalikes:
            name = rng.choice(lookalikes)
            parts.append(name if rng.random() < 0.7 else name[: rng.randint(0, len(name))])
        elif kind < 0.75:
            first, last = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 8))))
        else:
            parts.append("".join(random_character(rng) for _ in range(rng.randint(1, 4))))
    return "".join(parts)


class Own:
    """This project's tokenizer, behind stream-bench."""

    def __init__(self, bench, file):
        self.process = subprocess.Popen(
            [bench, "tokenizer-lines", file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        line = self.process.stdout.readline()
        self.refusal = "" if line else self.process.stderr.read().decode().strip()
        self.vocab_size = json.loads(line)["vocab_size"] if line else 0

    def ask(self, question):
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"stream-bench ended at {question!r}: {self.process.stderr.read().decode()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Comparison:
    def __init__(self, own, peer, name):
        self.own, self.peer, self.name = own, peer, name
        self.differences = 0

    def differ(self, what, given, own, peer):
        self.differences += 1
        if self.differences <= 5:
            print(f"{self.name}: {what} of {given!r}:\n  own  {own!r}\n  peer {peer!r}")

    def encode(self, text):
        """The peer's tokens, or None if it fails on the text."""
        own = self.own.ask({"text": text})
        try:
            ids = self.peer.encode(text).ids
            plain = self.peer.encode(text, add_special_tokens=False).ids
        except BaseException as error:  # noqa: BLE001 (the library's panics are no Exceptions)
            if isinstance(error, KeyboardInterrupt):
                raise
            return None
        if own.get("ids") != ids or own.get("plain_ids") != plain:
            self.differ("tokens", text, own, {"ids": ids, "plain_ids": plain})
        return plain

    def decode(self, ids):
        own = self.own.ask({"ids": ids})
        try:
            text = self.peer.decode(ids, skip_special_tokens=True)
            whole = self.peer.decode(ids, skip_special_tokens=False)
        except BaseException as error:  # noqa: BLE001
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        if own["text"] != text or own["whole"] != whole:
            self.differ("text", ids, own, {"text": text, "whole": whole})
        if not own["stream"]:
            self.differ("stream", ids, "another text than the whole", whole)


def lookalikes_of(peer):
    names = [token.content for token in peer.get_added_tokens_decoder().values()]
    return names[:40] + [" " + name + " " for name in names[:10]] + [name.upper() for name in names[:10]]


def compare(bench, file, name, strings, rng):
    peer = tokenizers.Tokenizer.from_file(file)
    peer.no_truncation()
    peer.no_padding()
    own = Own(bench, file)
    if own.refusal:
        print(f"{name}: refused: {own.refusal}")
        return None
    comparison = Comparison(own, peer, name)
    lookalikes = lookalikes_of(peer)
    for _ in range(strings):
        ids = comparison.encode(random_string(rng, lookalikes))
        if ids:
            comparison.decode(ids)
        comparison.decode([rng.randrange(own.vocab_size + 2) for _ in range(rng.randint(1, 12))])
        if rng.random() < 0.3:  # low ids: bytes and special tokens
            comparison.decode([rng.randrange(min(300, own.vocab_size)) for _ in range(rng.randint(1, 12))])
    own.close()
    return comparison.differences


# ---- composed tokenizers


def small_vocabulary(model, size=3000):
    vocabulary = {name: id for name, id in model["vocab"].items() if id < size}
    merges = []
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if left in vocabulary and right in vocabulary and left + right in vocabulary:
            merges.append([left, right])
    return {"vocab": vocabulary, "merges": merges}


def random_pattern(rng, may_be_empty=True):
    # The library itself goes wrong where a normalizer replaces nothing at the beginning of a text.
    empty = [{"Regex": r"x*"}, {"Regex": r"\b"}] if may_be_empty else []
    return rng.choice(empty + [
        {"String": " "}, {"String": "a"}, {"String": "the"}, {"String": "\u2581"}, {"String": "''"}, {"Regex": r"\s+"},
        {"Regex": r"\d{1,3}"}, {"Regex": r"\p{L}+"}, {"Regex": r" ?\p{L}+|\p{N}"}, {"Regex": r"[^\s\p{L}\p{N}]"},
        {"Regex": r"\w+"}, {"Regex": r"(?i:'s|'t|the)|\s+(?!\S)|\s"}, {"Regex": r"[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+"},
        {"Regex": r"^a|[[:punct:]]"}, {"Regex": r"\p{Han}|[\u3040-\u30ff]"},
    ])


def random_normalizer(rng, depth=0):
    if depth == 0 and rng.random() < 0.25:
        return None
    kind = rng.choice(["NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "Lowercase", "Strip", "StripAccents",
                       "Nmt", "ByteLevel", "Sequence", "Sequence"])
    if kind == "Sequence":
        if depth > 1:
            return {"type": "NFC"}
        return {"type": kind, "normalizers": [random_normalizer(rng, depth + 1) for _ in range(rng.randint(0, 3))]}
    if kind == "Prepend":
        return {"type": kind, "prepend": rng.choice(["\u2581", " ", "ab"])}
    if kind == "Replace":
        return {"type": kind, "pattern": random_pattern(rng, False), "content": rng.choice(["\u2581", " ", "", "x y"])}
    if kind == "Strip":
        return {"type": kind, "strip_left": rng.random() < 0.7, "strip_right": rng.random() < 0.7}
    return {"type": kind}


def random_pre_tokenizer(rng, depth=0):
    if depth == 0 and rng.random() < 0.15:
        return None
    kind = rng.choice(["ByteLevel", "ByteLevel", "Split", "Split", "Punctuation", "Digits", "Whitespace",
                       "WhitespaceSplit", "Metaspace", "Metaspace", "CharDelimiterSplit", "FixedLength", "Sequence",
                       "Sequence"])
    behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    if kind == "Sequence":
        if depth > 1:
            return {"type": "WhitespaceSplit"}
        return {"type": kind, "pretokenizers": [random_pre_tokenizer(rng, depth + 1) for _ in range(rng.randint(0, 3))]}
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": rng.random() < 0.5, "trim_offsets": True,
                "use_regex": rng.random() < 0.7}
    if kind == "Split":
        return {"type": kind, "pattern": random_pattern(rng), "behavior": rng.choice(behaviors),
                "invert": rng.random() < 0.3}
    if kind == "Punctuation":
        return {"type": kind, "behavior": rng.choice(behaviors)}
    if kind == "Digits":
        return {"type": kind, "individual_digits": rng.random() < 0.5}
    if kind == "Metaspace":
        return {"type": kind, "replacement": rng.choice(["\u2581", "_"]),
                "prepend_scheme": rng.choice(["always", "first", "never"]), "split": rng.random() < 0.5}
    if kind == "CharDelimiterSplit":
        return {"type": kind, "delimiter": rng.choice([" ", "e", "\u2581"])}
    if kind == "FixedLength":
        return {"type": kind, "length": rng.randint(1, 7)}
    return {"type": kind}


def random_decoder(rng, depth=0):
    if depth == 0 and rng.random() < 0.1:
        return None
    kind = rng.choice(["ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace", "Sequence", "Sequence",
                       "Sequence"])
    if kind == "Sequence":
        if depth > 1:
            return {"type": "Fuse"}
        return {"type": kind, "decoders": [random_decoder(rng, depth + 1) for _ in range(rng.randint(0, 4))]}
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    if kind == "Replace":
        return {"type": kind, "pattern": random_pattern(rng), "content": rng.choice([" ", "", "xy"])}
    if kind == "Strip":
        return {"type": kind, "content": rng.choice([" ", "a", "\u2581"]), "start": rng.randint(0, 2),
                "stop": rng.choice([0, 0, 1])}
    if kind == "Metaspace":
        return {"type": kind, "replacement": "\u2581", "prepend_scheme": rng.choice(["always", "first", "never"]),
                "split": True}
    return {"type": kind}


def random_added_tokens(rng, vocabulary):
    names = ["<s>", "</s>", "<unk>", "<|end|>", "<pad>", "  ", "   ", "\u2581\u2581\u2581", "[INST]", "cat", "The",
             "e\u0301", "\u00e9t\u00e9", "<a> ", " b", "\n\n", "<<A>>", "<<A>>b"]
    tokens = []
    for name in rng.sample(names, rng.randint(0, 8)):
        id = vocabulary.get(name)
        if id is None:
            id = len(vocabulary) + sum(1 for token in tokens if token["content"] not in vocabulary)
        tokens.append({"id": id, "content": name, "single_word": rng.random() < 0.2, "lstrip": rng.random() < 0.3,
                       "rstrip": rng.random() < 0.3, "normalized": rng.random() < 0.5, "special": rng.random() < 0.5})
    return tokens


def random_post_processor(rng, vocabulary):
    name = next(iter(vocabulary))
    id = vocabulary[name]
    return rng.choice([
        None,
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "BertProcessing", "sep": [name, id], "cls": [name, id]},
        {"type": "RobertaProcessing", "sep": [name, id], "cls": [name, id], "trim_offsets": True,
         "add_prefix_space": True},
        {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {name: {"id": name, "ids": [id, id], "tokens": [name, name]}}},
    ])


def compose(rng, model):
    vocabulary = model["vocab"]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": random_added_tokens(rng, vocabulary),
        "normalizer": random_normalizer(rng),
        "pre_tokenizer": random_pre_tokenizer(rng),
        "post_processor": random_post_processor(rng, vocabulary),
        "decoder": random_decoder(rng),
        "model": {"type": "BPE", "dropout": None,
                  "unk_token": rng.choice([None, "<unk>" if "<unk>" in vocabulary else next(iter(vocabulary))]),
                  "continuing_subword_prefix": rng.choice([None, None, None, ""]),
                  "end_of_word_suffix": rng.choice([None, None, None, "", "e"]),
                  "fuse_unk": rng.random() < 0.5, "byte_fallback": rng.random() < 0.5,
                  "ignore_merges": rng.random() < 0.3, **model},
    }


def compare_composed(bench, models, count, strings, rng):
    differences, refused, refused_by_peer = 0, 0, 0
    with tempfile.TemporaryDirectory() as directory:
        for number in range(count):
            composed = compose(rng, rng.choice(models))
            file = os.path.join(directory, "tokenizer.json")
            with open(file, "w", encoding="utf-8") as out:
                json.dump(composed, out)
            try:
                tokenizers.Tokenizer.from_file(file)
            except BaseException as error:  # noqa: BLE001
                if isinstance(error, KeyboardInterrupt):
                    raise
                refused_by_peer += 1
                continue
            found = compare(bench, file, f"composed {number}", strings, rng)
            if found is None:
                refused += 1
                continue
            if found:
                shown = {key: value for key, value in composed.items() if key != "model"}
                shown["model"] = {k: v for k, v in composed["model"].items() if k not in ("vocab", "merges")}
                print(json.dumps(shown))
            differences += found
    print(f"{count} composed tokenizers, {refused_by_peer} of which the library refuses and {refused} this project: "
          f"{differences} differences")
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--bench", required=True, help="the binary stream-bench")
    parser.add_argument("--strings", type=int, default=10000, help="for each tokenizer")
    parser.add_argument("--composed", type=int, default=0, help="random tokenizers")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    if options.composed:
        models = []
        for file in options.tokenizers:
            with open(file, encoding="utf-8") as source:
                models.append(small_vocabulary(json.load(source)["model"]))
        return 1 if compare_composed(options.bench, models, options.composed, options.strings, rng) else 0
    differences = 0
    for file in options.tokenizers:
        found = compare(options.bench, file, file, options.strings, rng)
        print(f"{file}: {options.strings} strings, {found} differences")
        differences += 1 if found is None else found
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

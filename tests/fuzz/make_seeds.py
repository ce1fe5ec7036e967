#!/usr/bin/env python3
"""Writes what the fuzzers begin with: make_seeds.py DIRECTORY gives DIRECTORY/<target>/ and DIRECTORY/<target>.dict.

All of it comes from the project's own test data and models."""
import json
import pathlib
import struct
import sys

ROOT = pathlib.Path(__file__).parents[2]
DATA = ROOT / "tests/data"


def checkpoints():
    return sorted({file.parent for base in (DATA / "models", ROOT / "models") for file in base.rglob("config.json")})


def chat_template():
    for file in sorted((DATA / "templates/published").glob("*.jinja")):
        yield file.read_bytes()
    for case in json.loads((DATA / "templates/language_cases.json").read_text(encoding="utf-8"))["cases"]:
        yield case["template"].encode()


def tokenizer():
    for file in [*sorted((DATA / "models").rglob("tokenizer.json")), *sorted((DATA / "tokenizers").rglob("tokenizer.json"))]:
        if file.stat().st_size < 100_000:  # larger ones leave no time for changes
            for text in ["Hello, world!\n\n  caf\u00e9 \U0001F999 123", "<s> a</s>\u0301 "]:
                yield file.read_bytes() + b"\0" + text.encode()


def safetensors():
    for directory in checkpoints():
        for file in sorted(directory.glob("*.safetensors")):
            with open(file, "rb") as stream:
                size = stream.read(8)
                yield size + stream.read(struct.unpack("<Q", size)[0])  # without the data: a file cut short
    for tensors in [{}, {"a": ("F32", [2, 3])}, {"a": ("BF16", [4]), "b": ("I64", [2, 0]), "c": ("F16", [1, 1, 2])}]:
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        for name, (kind, shape) in tensors.items():
            size = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8}[kind]
            for extent in shape:
                size *= extent
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header).encode()
        yield struct.pack("<Q", len(text)) + text + bytes(offset)


def model_config():
    for directory in checkpoints():
        text = (directory / "config.json").read_bytes()
        yield text
        generation = directory / "generation_config.json"
        yield text + b"\0" + (generation.read_bytes() if generation.exists() else b'{"eos_token_id": [1, 2]}')


def settings():
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        yield file.read_bytes()
        yield file.read_bytes() + b"\0cache.window_tokens=17"


def request_head():
    for fields in ["Host: a:80", "Host: [::1]:8000\r\nContent-Length: 7", "Host: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue",
                   "Host: 127.0.0.1\r\nAuthorization: Bearer x\r\nContent-Type: application/json; charset=utf-8\r\nOrigin: http://a"]:
        yield f"POST /v1/chat/completions?x=%41 HTTP/1.1\r\n{fields}\r\n\r\n".encode()
    yield b"GET / HTTP/1.0\r\n\r\n"
    yield b"/v1/models/a%2Fb"
    yield b"[::1]:8000"


def request():
    whole = {"model": "m", "messages": [{"role": "user", "content": "hi <|end|>", "name": "x"}], "temperature": 0.5, "top_p": 0.9, "top_k": 5, "n": 2,
             "seed": 1, "stop": ["a", "b"], "logit_bias": {"5": -1}, "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True},
             "response_format": {"type": "text"}, "truncation": "disabled", "add_generation_prompt": False, "unknown": None}
    yield json.dumps(whole).encode()
    yield json.dumps({"messages": [{"role": "system", "content": [{"type": "text", "text": "s"}]}, {"role": "assistant", "content": "x"}],
                      "continue_final_message": True}).encode()
    call = {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [1, {\"b\": null}]}"}}
    yield json.dumps({"messages": [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "i", "content": "r"}],
                      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}).encode()


def step_plan():
    yield bytes(range(64))
    yield b"\1\3" + bytes([1, 2, 3, 4, 2] * 3) + bytes([4] + [1, 2, 3] * 8 + [3, 0, 1, 2]) + bytes([0, 13, 255, 0, 20, 7])


def watch_frames():
    def text(content):
        return struct.pack("<I", len(content)) + content

    report = struct.pack("<BQQQQQ", 2, 7, 1 << 33, 3, 1 << 63, 5) + text(b"a sum over ranks")
    bodies = [bytes(range(32)) + struct.pack("<I", 3), b"", report, b"", b"", text(b"rank 1 is lost")]  # a frame's kind is its place
    frames = [struct.pack("<HB", 1 + len(body), kind) + body for kind, body in enumerate(bodies)]
    yield from frames
    yield b"".join(frames)


def messages():
    number, count = (lambda n: struct.pack("<Q", n)), (lambda n: struct.pack("<I", n))
    sampling = struct.pack("<fiffffffi", 1, 0, 1, 0, 1, 0, 0, 0, -1)
    yield b"SKC1\3" + number(7)
    yield b"SKC1\1" + number(7) + count(1) + number(9)
    yield b"SKC1\2" + number(7) + count(0) + number(30) + count(2) + count(5) + count(6)
    yield b"SKC1\0" + number(1) + number(0) + b"\0" + count(1) + count(3) + bytes(12) + count(2) + number(9) + b"\0" + count(0) + sampling + bytes(64)
    yield b"SKE1\2" + number(3) + count(0) + number(4) + count(5) + b"\0\0" + count(0) + number(0)
    yield b"SKE1\3" + number(3) + count(0) + b"\1" + count(2) + b"no" + bytes(32) + b"\1" + count(6) + count(1) + count(7)


WORDS = {
    "chat_template": ["{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", "for x in ", "endfor", "if ", "elif ", "else", "endif", "set ", "endset", "macro m(a)", "endmacro",
                      "call m()", "endcall", "filter ", "endfilter", "with ", "endwith", "generation", "endgeneration", "recursive", "break", "continue", "loop.", "raw",
                      "endraw", "namespace(", "range(", "messages", "tools", "tojson", "selectattr(", "map(", "join", "replace(", "split(", "format(", "is defined", "not in ",
                      "indent(", "batch(", "slice(", "groupby(", "dictsort", "unique", "round(", "int(", "truncate(", "strftime_now(", "raise_exception(", "**", "//", "~", "[::-1]",
                      "'%s' % ", "cycler(", "joiner(", "caller()", "varargs", "kwargs", "9223372036854775807"],
    "tokenizer": ["\"added_tokens\"", "\"normalizer\"", "\"pre_tokenizer\"", "\"post_processor\"", "\"decoder\"", "\"model\"", "\"type\"", "\"Sequence\"", "\"Prepend\"", "\"Replace\"",
                  "\"NFC\"", "\"NFKC\"", "\"Split\"", "\"Regex\"", "\"ByteLevel\"", "\"Metaspace\"", "\"Digits\"", "\"Punctuation\"", "\"TemplateProcessing\"", "\"ByteFallback\"", "\"Fuse\"",
                  "\"Strip\"", "\"BPE\"", "\"vocab\"", "\"merges\"", "\"byte_fallback\"", "\"unk_token\"", "\"single_word\"", "\"lstrip\"", "\"rstrip\"", "\"normalized\"", "\"special\"",
                  "\"behavior\"", "\"Isolated\"", "\"Removed\"", "\"pattern\"", "\"content\""],
    "safetensors": ["\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"__metadata__\"", "\"F32\"", "\"BF16\"", "\"I64\"", "18446744073709551615"],
    "model_config": ["\"model_type\"", "\"llama\"", "\"mistral\"", "\"mpt\"", "\"falcon\"", "\"gpt_neox\"", "\"rope_scaling\"", "\"rope_theta\"", "\"rope_parameters\"", "\"rope_type\"",
                     "\"llama3\"", "\"linear\"", "\"factor\"", "\"hidden_size\"", "\"num_attention_heads\"", "\"num_key_value_heads\"", "\"head_dim\"", "\"eos_token_id\"", "\"sliding_window\"",
                     "\"attn_config\"", "\"alibi\"", "\"new_decoder_architecture\"", "\"quantization_config\"", "1e308", "9223372036854775807"],
    "settings": ["model:", "cache:", "parallel:", "engine:", "server:", "path:", "mode:", "sink", "window", "dense", "auto", "sink_tokens:", "window_tokens:", "listen:", "&a ", "*a", "<<:", "- ", "!!int ", "|\n", "? "],
    "request_head": ["Host:", "Content-Length:", "Transfer-Encoding:", "chunked", "HTTP/1.1", "HTTP/1.0", "Expect:", "Connection:", "\r\n", "\r\n\r\n", "%2F", "[::1]"],
    "request": ["\"messages\"", "\"role\"", "\"content\"", "\"tool\"", "\"tool_calls\"", "\"function\"", "\"arguments\"", "\"tools\"", "\"stop\"", "\"seed\"", "\"logit_bias\"", "\"type\"", "\"text\"",
                "\"continue_final_message\"", "\"add_generation_prompt\"", "\"reasoning\"", "\"assistant\"", "<|end|>", "\\ud834\\udd1e"],
    "step_plan": ["SNK5"],
}


def main():
    directory = pathlib.Path(sys.argv[1])
    for make in [chat_template, tokenizer, safetensors, model_config, settings, request_head, request, step_plan, messages, watch_frames]:
        folder = directory / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(make()):
            (folder / f"seed-{number}").write_bytes(seed)
        quoted = ["".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS.get(make.__name__, [])]
        lines = ["# words to put in", *(f'"{word}"' for word in quoted)]  # libFuzzer refuses an empty file
        (directory / f"{make.__name__}.dict").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

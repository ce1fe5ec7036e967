"""Times llama.cpp by its C interface, and prints JSON. Runs in the peers' environment.

    time_llama_cpp.py MODEL.gguf --threads 2 --prompt 512 --streams 1,16 --steps 8
"""

import argparse
import json
import statistics
import time

import llama_cpp

REPEATS = 3
WARM_UP = 2


class Llama:
    """One context; every stream has read the same prompt."""

    def __init__(self, path, threads, prompt, streams, steps):
        llama_cpp.llama_backend_init()
        self.prompt, self.streams = prompt, streams
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_threads = params.n_threads_batch = threads
        params.n_batch = params.n_ubatch = max(prompt, streams)
        params.n_seq_max = streams
        params.n_ctx = prompt + streams * (steps * REPEATS + WARM_UP) + 64
        params.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(max(prompt, streams), 0, 1)

    def decode(self, entries):
        """Entries of (token, position, stream); the last of each stream has logits."""
        self.batch.n_tokens = len(entries)
        for i, (token, position, stream, logits) in enumerate(entries):
            self.batch.token[i], self.batch.pos[i], self.batch.logits[i] = token, position, logits
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, stream
        begin = time.monotonic()
        if llama_cpp.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama_cpp.llama_synchronize(self.context)
        return time.monotonic() - begin

    def time_prompt(self):
        times = []
        for _ in range(REPEATS + 1):
            llama_cpp.llama_memory_clear(self.memory, True)
            times.append(self.decode([(i % 1000, i, 0, i == self.prompt - 1) for i in range(self.prompt)]))
        return statistics.median(times[1:])

    def time_steps(self, streams, steps):
        """Seconds of a step; the prompt has been read."""
        for stream in range(1, streams):
            llama_cpp.llama_memory_seq_cp(self.memory, 0, stream, 0, self.prompt)

        def run(first, count):
            return sum(self.decode([(17 + s, first + i, s, True) for s in range(streams)]) for i in range(count)) / count

        run(self.prompt, WARM_UP)
        seconds = statistics.median(run(self.prompt + WARM_UP + r * steps, steps) for r in range(REPEATS))
        for stream in range(streams):
            llama_cpp.llama_memory_seq_rm(self.memory, stream, self.prompt if stream == 0 else -1, -1)
        return seconds


def bytes_of_step(model):
    """All but the embedding, of which a step takes a few rows; every matrix has the same type."""
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    embedding = vocab * llama_cpp.llama_model_n_embd(model) / llama_cpp.llama_model_n_params(model)
    return llama_cpp.llama_model_size(model) * (1 - embedding)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prompt", type=int, required=True)
    parser.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")], required=True)
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    llama = Llama(args.model, args.threads, args.prompt, max(args.streams), args.steps)
    prompt = llama.time_prompt()
    steps = {streams: llama.time_steps(streams, args.steps) for streams in args.streams}
    print(json.dumps({"prompt": args.prompt / prompt, "decode": {n: n / seconds for n, seconds in steps.items()},
                      "bytes": bytes_of_step(llama.model)}))


if __name__ == "__main__":
    main()

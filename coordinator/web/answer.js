// One answer while it is written: what has come, how fast, and when to draw it.
import { number, plural } from "./dom.js";
import { completionChunks, countPromptTokens } from "./server.js";
import { sessionFromCount, sessionFromUsage } from "./session_bar.js";

export class Answer {
  // `draw` is called when there is something new to see, as often as drawing leaves the page time for else.
  constructor(text, draw) {
    this.text = text;  // GrowingText
    this.draw = draw;
    this.abort = new AbortController();
    this.tokens = 0;
    this.promptTokens = null;
    this.usage = null;
    this.finish = null;
    this.start = performance.now();
    this.firstTime = 0;
    this.lastTime = 0;
    this.timer = 0;
    this.frame = 0;
    this.pause = 0;
  }

  // What went wrong, or "".
  async read(messages, sampling) {
    countPromptTokens(messages, this.abort.signal).then((count) => {
      this.promptTokens = count;
      if (!this.abort.signal.aborted) this.drawSoon();
    });
    try {
      for await (const chunk of completionChunks(messages, sampling, this.abort.signal)) {
        this.take(chunk);
        this.drawSoon();
      }
    } catch (error) {
      if (!this.abort.signal.aborted) return error.message;
    }
    return "";
  }

  take(chunk) {
    const choice = chunk.choices?.[0];
    const text = choice?.delta?.content ?? "";
    if (text) {
      this.lastTime = performance.now();
      this.firstTime ||= this.lastTime;
      this.tokens += 1;
      this.text.append(text);
    }
    if (choice?.finish_reason) this.finish = choice.finish_reason;
    if (chunk.usage) {
      this.tokens = chunk.usage.completion_tokens ?? this.tokens;
      if (chunk.usage.session) this.usage = chunk.usage.session;
    }
  }

  // Once a frame at most, and three times as long after a drawing as it took.
  drawSoon() {
    if (this.timer || this.frame) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        const begin = performance.now();
        this.draw();
        this.pause = 3 * (performance.now() - begin);
      });
    }, this.pause);
  }

  drawNoMore() {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.draw = () => {};
  }

  // null while nothing is known.
  session() {
    if (this.usage) return sessionFromUsage(this.usage);
    return this.promptTokens === null ? null : sessionFromCount(this.promptTokens + this.tokens);
  }

  rate() {
    const seconds = (this.lastTime - this.firstTime) / 1000;
    return this.tokens > 1 && seconds > 0 ? `${number.format(Math.round((this.tokens - 1) / seconds))} tokens/s` : "";
  }

  summary() {
    const delay = this.firstTime ? `first after ${((this.firstTime - this.start) / 1000).toFixed(2)} s` : "";
    const how = this.abort.signal.aborted ? "stopped" : this.finish === "length" ? "reached the longest answer" : "";
    return [plural(this.tokens, "token"), this.rate(), delay, how].filter(Boolean).join(" · ");
  }
}

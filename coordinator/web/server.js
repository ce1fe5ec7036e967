// The server's API. Every address is relative, so that the page works under a proxy's path prefix.
import { plural } from "./dom.js";
import { requestHeaders } from "./settings.js";

async function errorFrom(response) {
  let message = "";
  try { message = (await response.json()).error?.message ?? ""; } catch { /* not JSON */ }
  if (response.status === 401) return new Error(`${message || "The server wants an API key."} Set it under Settings.`);
  if (response.status === 429) {
    const wait = Number(response.headers.get("Retry-After"));
    return new Error(`${message || "The server is busy."}${wait > 0 ? ` Try again in ${plural(wait, "second")}.` : ""}`);
  }
  return new Error(message || `The server answered ${response.status}.`);
}

async function post(path, body, signal) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: requestHeaders(), body: JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await errorFrom(response);
  return response;
}

// The data of each server-sent event.
async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (signal.aborted) throw error;
      throw new Error("The connection to the server was lost.");
    }
    if (part.done) return;
    const lines = (buffer + part.value).split("\n");
    buffer = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  }
}

export async function* completionChunks(messages, sampling, signal) {
  const body = { messages, stream: true, stream_options: { include_usage: true }, ...sampling };
  for await (const data of events(await post("v1/chat/completions", body, signal), signal)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message || "The server reported an error.");
    yield chunk;
  }
  throw new Error("The answer broke off: the server closed the connection.");
}

// null when the server does not say: only the running count is missed, the answer's own usage follows.
export async function countPromptTokens(messages, signal) {
  try {
    return (await (await post("tokenize", { messages }, signal)).json()).count ?? null;
  } catch {
    return null;
  }
}

// What is served, once known.
export const model = {
  name: "",
  endTokens: [],
  longestAnswer: 100000,  // for a story without an end; less where the server allows less
  capacity: null,         // { tokens, sinks } that a session keeps
};

// Leaves the model as it is when it cannot be had now: the first message will say what is wrong.
export async function readModel() {
  try {
    const response = await fetch("v1/models", { headers: requestHeaders() });
    if (!response.ok) return;
    const served = (await response.json()).data?.[0];
    model.name = served?.id ?? "";
    model.endTokens = served?.meta?.end_tokens ?? [];
    model.longestAnswer = Math.min(model.longestAnswer, served?.meta?.max_tokens ?? model.longestAnswer);
    const { sink_tokens: sinks, window_tokens: window } = served?.meta ?? {};
    if (window) model.capacity = { tokens: sinks + window, sinks };
  } catch { /* not reached */ }
}

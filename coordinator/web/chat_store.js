// Chats, kept in this browser: each under a key of its own, the oldest dropped for room.
import { keys, readJson, readText, remove, writeText } from "./storage.js";

const PREFIX = "sinkstream.chat.";
const MOST_CHATS = 200;
const MOST_CHARACTERS = 2_000_000;  // browsers give a site about five million

export const newChat = (system = "") =>
  ({ id: crypto.getRandomValues(new Uint32Array(2)).join("-"), updated: Date.now(), system, messages: [], session: null });

export function titleOf(chat) {
  const first = chat.messages.find(({ role }) => role === "user")?.content ?? "";
  return first.trim().replace(/\s+/g, " ").slice(0, 80) || "Empty chat";
}

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

function sessionFrom(value) {
  const fields = ["seen", "pinned", "resident", "evicted"];
  if (!value || !fields.every((name) => isCount(value[name]))) return null;
  return { ...Object.fromEntries(fields.map((name) => [name, value[name]])), exact: value.exact === true };
}

// What others wrote, with nothing in it that a chat does not have; null when it is none.
export function chatFrom(value) {
  if (!Array.isArray(value?.messages)) return null;
  const chat = newChat(typeof value.system === "string" ? value.system : "");
  for (const { role, content, note } of value.messages.map((message) => message ?? {})) {
    const text = Array.isArray(content) ? content.map((part) => part?.text ?? "").join("\n") : content;
    if (typeof text !== "string") return null;
    if (role === "system" || role === "developer") chat.system = [chat.system, text].filter(Boolean).join("\n");
    else if (role === "user" || role === "assistant") {
      chat.messages.push({ role, content: text, ...(typeof note === "string" && { note: note.slice(0, 200) }) });
    } else return null;
  }
  chat.session = sessionFrom(value.session);
  if (isCount(value.updated)) chat.updated = value.updated;
  return chat;
}

export function loadChat(id) {
  const value = readJson(PREFIX + id);
  const chat = chatFrom(value);
  return chat && { ...chat, id };
}

// { id, length, updated, title }, the newest first.
export function listChats() {
  return keys().filter((key) => key.startsWith(PREFIX)).map((key) => {
    const id = key.slice(PREFIX.length);
    const text = readText(key) ?? "";
    const chat = loadChat(id);
    return chat && { id, length: text.length, updated: chat.updated, title: titleOf(chat) };
  }).filter(Boolean).sort((a, b) => b.updated - a.updated);
}

// What to tell the reader, or "".
export function saveChat(chat) {
  const text = JSON.stringify(chat);
  if (text.length > MOST_CHARACTERS) return "This chat is too long to be kept in the browser. Export it to keep it.";
  const others = listChats().filter(({ id }) => id !== chat.id);
  let total = others.reduce((sum, { length }) => sum + length, text.length);
  let dropped = 0;
  const dropOldest = () => {
    const oldest = others.pop();
    remove(PREFIX + oldest.id);
    total -= oldest.length;
    dropped += 1;
  };
  while (others.length > 0 && (total > MOST_CHARACTERS || others.length >= MOST_CHATS)) dropOldest();
  while (!writeText(PREFIX + chat.id, text)) {
    if (others.length === 0) return "This browser does not keep chats: its storage is off or full. Export the chat to keep it.";
    dropOldest();
  }
  return dropped > 0 ? `The oldest chats made room for this one: ${dropped} dropped.` : "";
}

export const deleteChat = (id) => remove(PREFIX + id);

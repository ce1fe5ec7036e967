// The chat that is open: its turns, and what is done to its messages.
import { Answer } from "./answer.js";
import { deleteChat, loadChat, newChat, saveChat } from "./chat_store.js";
import { $, plural } from "./dom.js";
import { forgottenLength } from "./forgotten.js";
import { hideNotice, showNotice } from "./notice.js";
import { countPromptTokens, model } from "./server.js";
import { currentSession, sessionFromCount, showSession } from "./session_bar.js";
import { samplingFields, setSystemPrompt, settingsAreValid, systemPrompt, withoutEnd } from "./settings.js";
import { readText, writeText } from "./storage.js";
import { addMessage, clearTranscript, completeMessage, follow, forget, removeMessage, reportProblem } from "./transcript.js";

const OPEN = "sinkstream.open";  // in this tab

let chat = newChat();
let turn = null;  // the Answer that is being written

export const openChat = () => chat;
export const isWriting = () => turn !== null;

// As the API takes them.
export function messagesOf({ system, messages }) {
  const start = system.trim() ? [{ role: "system", content: system.trim() }] : [];
  return [...start, ...messages.map(({ role, content }) => ({ role, content }))];
}

function keep() {
  chat.updated = Date.now();
  chat.session = currentSession();
  if (chat.messages.length === 0) deleteChat(chat.id);
  else {
    const problem = saveChat(chat);
    if (problem) showNotice(problem);
  }
  document.dispatchEvent(new Event("chatschange"));
}

function showSeen(session) {
  showSession(session);
  forget((shown) => forgottenLength(session, shown + chat.system.length));
}

function showBusy() {
  $("stop").hidden = !turn;
  $("send").hidden = Boolean(turn);
  $("send").disabled = $("prompt").value.trim() === "";
  $("export").disabled = Boolean(turn) || chat.messages.length === 0;
  $("transcript").setAttribute("aria-busy", String(Boolean(turn)));
}

function showChat() {
  clearTranscript();
  for (const message of chat.messages) completeMessage(addMessage(message.role, message.content).article, message);
  $("speed").textContent = "";
  $("status").textContent = "";
  showSeen(chat.session);
  showBusy();
  follow(true);
}

// Other messages, another session: the server counts what it would see.
async function recount() {
  const counted = chat;
  const count = chat.messages.length > 0 ? await countPromptTokens(messagesOf(chat)) : null;
  if (chat !== counted || turn) return;
  showSeen(count === null ? null : sessionFromCount(count));
  keep();
}

// ---- A turn. ----

// Ends what is being written; the answer so far stays.
export function stopWriting() {
  turn?.abort.abort();
  if (turn) finish(turn, "");
}

function finish(answer, problem) {
  if (turn !== answer) return;  // stopped before
  turn = null;
  answer.drawNoMore();
  answer.text.draw(true);
  const { article } = answer;
  article.classList.remove("writing");
  const session = answer.session();
  if (session) showSeen(session);
  const content = answer.text.text;
  const note = answer.tokens > 0 || !problem ? answer.summary() : "";
  const message = { role: "assistant", content, ...(note && { note }) };
  if (content) chat.messages.push(message);
  completeMessage(article, message);
  if (problem) {
    reportProblem(article, problem, () => {
      if (turn || !settingsAreValid()) return;
      chat.messages = chat.messages.filter((other) => other !== message);
      removeMessage(article);
      answerNext(answer.endless);
    });
  }
  $("speed").textContent = answer.rate();
  $("status").textContent = problem ? "The answer failed." : `The answer is complete: ${plural(answer.tokens, "token")}.`;
  keep();
  showBusy();
  follow();
}

// `endless`: without an end of its own, whatever the settings say.
async function answerNext(endless = false) {
  const chosen = samplingFields(model.endTokens);
  const sampling = endless ? withoutEnd({ ...chosen, max_tokens: model.longestAnswer }, model.endTokens) : chosen;
  const { article, text } = addMessage("assistant");
  article.classList.add("writing");
  const answer = turn = new Answer(text, () => {
    text.draw(false);
    const session = answer.session();
    if (session) showSeen(session);
    $("speed").textContent = answer.rate();
    follow();
  });
  Object.assign(answer, { article, endless });
  showBusy();
  follow();
  $("status").textContent = "The model is writing.";
  finish(answer, await answer.read(messagesOf(chat), sampling));
}

// false: nothing was sent.
export function send(text, endless = false) {
  if (turn || text.trim() === "" || !settingsAreValid()) return false;
  hideNotice();
  $("transcript").querySelectorAll(".problem button").forEach((retry) => retry.remove());
  chat.system = systemPrompt();
  const message = { role: "user", content: text };
  chat.messages.push(message);
  completeMessage(addMessage("user", text).article, message);
  keep();
  follow(true);
  answerNext(endless);
  return true;
}

// ---- What is done to messages. ----

// `change` gets the messages and gives others. What it drops can be taken back for a while.
function changeMessages(change, notice) {
  const before = { chat, messages: [...chat.messages], session: chat.session };
  chat.messages = change(before.messages);
  chat.session = null;
  showChat();
  keep();
  if (!notice) return hideNotice();
  showNotice(notice, () => {
    stopWriting();
    chat = before.chat;
    Object.assign(chat, { messages: before.messages, session: before.session });
    showChat();
    keep();
  });
}

const countedMessages = (count) => (count === 1 ? "One message was" : `${count} messages were`);

// A new answer in the place of `message`, or after it when it is the user's; what followed goes.
export function regenerate(message) {
  const index = chat.messages.indexOf(message);
  if (turn || index < 0 || !settingsAreValid()) return;
  const kept = index + (message.role === "user" ? 1 : 0);
  const dropped = chat.messages.length - kept;
  changeMessages((messages) => messages.slice(0, kept), dropped > 0 ? `${countedMessages(dropped)} replaced.` : "");
  answerNext();
}

export function regenerateLast() {
  if (chat.messages.length > 0) regenerate(chat.messages.at(-1));
}

export function deleteMessage(message) {
  if (turn || !chat.messages.includes(message)) return;
  changeMessages((messages) => messages.filter((other) => other !== message), "The message was deleted.");
  recount();
}

// `again`: what followed goes, and the model answers anew.
export function editMessage(message, content, again) {
  const index = chat.messages.indexOf(message);
  if (turn || index < 0 || content.trim() === "" || (again && !settingsAreValid())) return false;
  const edited = { role: message.role, content };
  const rest = again ? [] : chat.messages.slice(index + 1);
  changeMessages((messages) => [...messages.slice(0, index), edited, ...rest], "The message was changed.");
  if (again) answerNext();
  else recount();
  return true;
}

export function changeSystemPrompt() {
  chat.system = systemPrompt();
  if (chat.messages.length > 0) keep();
}

// ---- Which chat is open. ----

export function open(next) {
  stopWriting();
  hideNotice();
  chat = next;
  writeText(OPEN, chat.id, "sessionStorage");
  showChat();
  document.dispatchEvent(new Event("chatschange"));
}

export function openNew() {
  open(newChat(systemPrompt()));
  $("prompt").focus();
}

// false: it is not there any more.
export function openSaved(id) {
  const saved = loadChat(id);
  if (!saved) return false;
  setSystemPrompt(saved.system);
  open(saved);
  return true;
}

export function openLast() {
  const id = readText(OPEN, "sessionStorage");
  if (!id || !openSaved(id)) open(newChat(systemPrompt()));
}

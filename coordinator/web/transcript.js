// The messages on the page.
import { $, make, makeButton } from "./dom.js";
import { showForgotten } from "./forgotten.js";
import { GrowingText } from "./growing_text.js";

let texts = [];                 // of all messages, in order
const messages = new WeakMap();  // of the articles

const ACTIONS = {
  user: [["Copy", "copy"], ["Edit", "edit"], ["Answer again", "regenerate"], ["Delete", "delete"]],
  assistant: [["Copy", "copy"], ["Regenerate", "regenerate"], ["Edit", "edit"], ["Delete", "delete"]],
};

export function clearTranscript() {
  texts = [];
  showForgotten([], 0);
  $("transcript").querySelectorAll(".message").forEach((message) => message.remove());
  $("welcome").hidden = false;
}

// { article, text: GrowingText }
export function addMessage(role, content = "") {
  $("welcome").hidden = true;
  const article = make("article", `message ${role}`);
  article.setAttribute("aria-label", role === "user" ? "You" : "Model");
  const body = article.appendChild(make("div", "text"));
  if (role === "user") body.tabIndex = 0;  // long ones scroll
  const text = new GrowingText(body, role === "assistant");
  text.append(content);
  text.draw(content !== "");
  texts.push(text);
  $("transcript").append(article);
  return { article, text };
}

// The message is whole: what was said of it, and what can be done with it.
export function completeMessage(article, message) {
  messages.set(article, message);
  if (message.note) article.append(make("div", "note", message.note));
  const actions = make("div", "actions");
  for (const [label, action] of ACTIONS[message.role]) actions.append(makeButton(label, action));
  article.append(actions);
}

export function removeMessage(article) {
  texts = texts.filter((text) => !article.contains(text.container));
  article.remove();
}

export const messageOf = (article) => messages.get(article);

export function reportProblem(article, message, tryAgain) {
  const box = make("div", "problem");
  box.setAttribute("role", "alert");
  const retry = makeButton("Try again");
  retry.addEventListener("click", tryAgain);
  box.append(make("span", "", message), retry);
  article.append(box);
}

export function forget(lengthOf) {
  const shown = texts.reduce((sum, { text }) => sum + text.length, 0);
  showForgotten(texts, lengthOf(shown));
}

// Stays at the newest text unless the reader has scrolled up.
const scroller = $("scroller");
let following = true;

export function follow(again = false) {
  following ||= again;
  if (following) scroller.scrollTop = scroller.scrollHeight;
  $("newest").hidden = following;
}

// Texts that change their height move the page too: only where they have not was it the reader.
let last = { top: 0, height: 0 };
scroller.addEventListener("scroll", () => {
  const { scrollTop: top, scrollHeight: height, clientHeight } = scroller;
  if (height - top - clientHeight < 48) following = true;
  else if (top < last.top && height === last.height) following = false;
  last = { top, height };
  $("newest").hidden = following;
}, { passive: true });
new ResizeObserver(() => follow()).observe($("transcript"));

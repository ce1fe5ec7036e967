// The keyboard; the help in index.html lists it.
import { openChats } from "./chat_list.js";
import { isWriting, openNew, regenerateLast, stopWriting } from "./conversation.js";
import { $ } from "./dom.js";
import { editLastOfUser } from "./editing.js";
import { openSettings } from "./settings.js";

const withAlt = {
  KeyN: openNew,
  KeyR: () => { if (!isWriting()) regenerateLast(); },
  KeyC: () => openChats($("chats").hidden),
  KeyS: () => openSettings($("settings").hidden),
};
const outsideOfFields = {
  "/": () => $("prompt").focus(),
  "?": () => $("help").showModal(),
};

function escape() {
  if (!$("settings").hidden) openSettings(false);
  else if (!$("chats").hidden) openChats(false);
  else stopWriting();
}

function actionFor(event) {
  if (event.isComposing || event.ctrlKey || event.metaKey || $("help").open) return undefined;
  if (event.altKey) return withAlt[event.code];  // by place: with Alt, some keyboards make other letters
  if (event.key === "Escape") return escape;
  if (event.target === $("prompt") && event.key === "ArrowUp" && $("prompt").value === "") return editLastOfUser;
  if (event.target.closest?.("input, textarea, select")) return undefined;
  return outsideOfFields[event.key];
}

document.addEventListener("keydown", (event) => {
  const action = actionFor(event);
  if (!action) return;
  event.preventDefault();
  action();
});
$("toggle-help").addEventListener("click", () => $("help").showModal());
$("close-help").addEventListener("click", () => $("help").close());

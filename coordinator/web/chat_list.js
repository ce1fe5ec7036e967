// The panel with all chats of this browser.
import { deleteChat, listChats, loadChat, saveChat } from "./chat_store.js";
import { openChat, openNew, openSaved } from "./conversation.js";
import { $, make, makeButton } from "./dom.js";
import { showNotice } from "./notice.js";

const date = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

export function openChats(shown) {
  $("chats").hidden = !shown;
  $("toggle-chats").setAttribute("aria-expanded", String(shown));
  if (shown) showList();
  (shown ? $("close-chats") : $("toggle-chats")).focus();
}

function entry({ id, title, updated }) {
  const item = make("li");
  item.dataset.id = id;
  if (id === openChat().id) item.setAttribute("aria-current", "true");
  const button = makeButton(title, "open", "open");
  button.title = title;
  button.append(make("small", "", date.format(updated)));
  const away = makeButton("×", "delete", "quiet");
  away.setAttribute("aria-label", `Delete ${title}`);
  item.append(button, away);
  return item;
}

function showList() {
  const chats = listChats();
  $("export-all").disabled = chats.length === 0;
  if (!$("chats").hidden) $("chat-list").replaceChildren(...chats.map(entry));
}

function deleteWithUndo(id) {
  const saved = loadChat(id);
  deleteChat(id);
  const wasOpen = id === openChat().id;
  if (wasOpen) openNew();
  showList();
  if (saved) showNotice("The chat was deleted.", () => {
    saveChat(saved);
    if (wasOpen) openSaved(id);
    showList();
  });
}

$("chat-list").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { id } = button.closest("li").dataset;
  if (button.dataset.action === "delete") return deleteWithUndo(id);
  if (!openSaved(id)) showList();
  if (getComputedStyle($("chats")).position === "fixed") openChats(false);  // it covers the chat
});
$("toggle-chats").addEventListener("click", () => openChats($("chats").hidden));
$("close-chats").addEventListener("click", () => openChats(false));
document.addEventListener("chatschange", showList);
window.addEventListener("storage", showList);  // another tab

// Chats to files and back.
import { chatFrom, listChats, loadChat, saveChat } from "./chat_store.js";
import { messagesOf, open, openChat } from "./conversation.js";
import { $, make, plural } from "./dom.js";
import { showNotice } from "./notice.js";
import { model } from "./server.js";
import { samplingFields, setSystemPrompt } from "./settings.js";

const LARGEST_FILE = 20_000_000;  // bytes

function download(value, name) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function exportOne() {
  const chat = openChat();
  download({
    model: model.name, exported: new Date().toISOString(), settings: samplingFields(model.endTokens),
    session: chat.session, messages: messagesOf(chat),
  }, "chat.json");
}

function exportAll() {
  const chats = listChats().map(({ id }) => loadChat(id)).filter(Boolean).map((chat) =>
    ({ updated: chat.updated, session: chat.session, messages: messagesOf(chat) }));
  download({ model: model.name, exported: new Date().toISOString(), chats }, "chats.json");
}

// Of our own files, and of any list of messages as OpenAI's API has it.
function chatsIn(value) {
  const list = Array.isArray(value?.chats) ? value.chats : [value];
  if (Array.isArray(value)) return chatsIn(value.every((entry) => entry?.messages) ? { chats: value } : { messages: value });
  const chats = list.map(chatFrom);
  return chats.every((chat) => chat?.messages.length > 0) ? chats : [];
}

async function importFile(file) {
  if (file.size > LARGEST_FILE) return showNotice(`${file.name} is larger than ${LARGEST_FILE / 1e6} MB.`);
  let chats = [];
  try { chats = chatsIn(JSON.parse(await file.text())); } catch { /* not JSON */ }
  if (chats.length === 0) return showNotice(`${file.name} holds no chat: an exported one, or messages of users and assistants in JSON.`);
  const problem = chats.reverse().map(saveChat).find(Boolean);  // the first is the newest
  const newest = chats.at(-1);
  setSystemPrompt(newest.system);
  open(newest);
  showNotice(problem || `${plural(chats.length, "chat")} imported.`);
}

$("export").addEventListener("click", exportOne);
$("export-all").addEventListener("click", exportAll);
$("import").addEventListener("click", () => $("import-file").click());
$("import-file").addEventListener("change", () => {
  const [file] = $("import-file").files;
  if (file) importFile(file);
  $("import-file").value = "";  // the same file may come again
});

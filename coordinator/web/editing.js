// The buttons under a message.
import { deleteMessage, editMessage, isWriting, regenerate } from "./conversation.js";
import { $, copyText, make, makeButton } from "./dom.js";
import { copyCode } from "./markdown.js";
import { messageOf } from "./transcript.js";

function closeEditor(article) {
  article.querySelector(".editor")?.remove();
  for (const part of article.querySelectorAll(".text, .actions")) part.hidden = false;
}

export function openEditor(article) {
  const message = messageOf(article);
  if (isWriting() || !message || article.querySelector(".editor")) return;
  for (const part of article.querySelectorAll(".text, .actions")) part.hidden = true;
  const editor = make("form", "editor");
  const field = editor.appendChild(make("textarea"));
  field.value = message.content;
  field.setAttribute("aria-label", "Message text");
  const row = editor.appendChild(make("div"));
  if (message.role === "user") row.append(makeButton("Save and answer", "save-and-answer", "plain"));
  row.append(makeButton("Save", "save", "plain"), makeButton("Cancel", "cancel", "plain"));
  editor.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    event.stopPropagation();
    closeEditor(article);
    $("prompt").focus();
  });
  article.prepend(editor);
  field.focus();
}

export function editLastOfUser() {
  const article = [...$("transcript").querySelectorAll(".message.user")].at(-1);
  if (article) openEditor(article);
}

const actions = {
  "copy": (article, button) => copyText(messageOf(article).content, button),
  "copy-code": (article, button) => copyCode(button),
  "edit": openEditor,
  "regenerate": (article) => regenerate(messageOf(article)),
  "delete": (article) => deleteMessage(messageOf(article)),
  "cancel": closeEditor,
  "save": (article) => editMessage(messageOf(article), article.querySelector(".editor textarea").value, false),
  "save-and-answer": (article) => editMessage(messageOf(article), article.querySelector(".editor textarea").value, true),
};

$("transcript").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) actions[button.dataset.action](button.closest(".message"), button);
});

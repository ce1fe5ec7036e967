// The chat page: its controls, and how it begins.
import "./chat_files.js";
import "./chat_list.js";
import "./editing.js";
import "./shortcuts.js";
import { changeSystemPrompt, isWriting, openLast, openNew, send, stopWriting } from "./conversation.js";
import { $ } from "./dom.js";
import { model, readModel } from "./server.js";
import { setCapacity } from "./session_bar.js";
import { loadSettings, openSettings, resetSettings, saveSettings } from "./settings.js";
import { follow } from "./transcript.js";

const prompt = $("prompt");

function fitPrompt() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
  $("send").disabled = prompt.value.trim() === "";
}

async function showModel() {
  await readModel();
  $("model").textContent = model.name;
  if (model.capacity) setCapacity(model.capacity.tokens, model.capacity.sinks);
}

prompt.addEventListener("input", fitPrompt);
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!isWriting()) $("composer").requestSubmit();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!send(prompt.value)) return;
  prompt.value = "";
  fitPrompt();
});
$("stop").addEventListener("click", () => { stopWriting(); prompt.focus(); });
$("suggestions").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) send(button.textContent, "endless" in button.dataset);
});
$("newest").addEventListener("click", () => follow(true));
$("new-chat").addEventListener("click", openNew);

$("toggle-settings").addEventListener("click", () => openSettings($("settings").hidden));
$("close-settings").addEventListener("click", () => openSettings(false));
$("reset-settings").addEventListener("click", resetSettings);
$("settings").addEventListener("input", saveSettings);
$("system").addEventListener("input", changeSystemPrompt);
$("api-key").addEventListener("change", showModel);
window.addEventListener("pagehide", stopWriting);  // what was written so far is kept

loadSettings();
openLast();
showModel();

// Settings: kept in this browser, but the key only in this tab.
import { $ } from "./dom.js";
import { readJson, readText, writeText } from "./storage.js";

const SAVED = "sinkstream.settings";
const KEY = "sinkstream.key";
const remembered = ["system", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
                    "frequency_penalty", "repeat_last_n", "max_tokens", "seed", "stop-strings", "ignore_eos", "theme"];
const sliders = ["temperature", "top_p", "repetition_penalty"];
const neutral = { top_k: "", min_p: "", presence_penalty: "", frequency_penalty: "", repeat_last_n: "", seed: "",
                  repetition_penalty: "1" };

// What the page sends while an answer has no end of its own and no penalty is set: without it a small model soon goes in
// circles. Of the penalties this one alone does not grow with how often a token was there; counted over all of a long answer
// it would still leave no common word to choose.
const ENDLESS_PENALTY = { repetition_penalty: 1.1, repeat_last_n: 256 };

export const systemPrompt = () => $("system").value;
export function setSystemPrompt(text) { $("system").value = text; }

export function loadSettings() {
  const saved = readJson(SAVED) ?? {};
  for (const id of remembered) {
    if (typeof saved[id] === "boolean") $(id).checked = saved[id];
    else if (typeof saved[id] === "string") $(id).value = saved[id];
  }
  $("api-key").value = readText(KEY, "sessionStorage") ?? "";
  showSettings();
}

export function saveSettings() {
  const values = remembered.map((id) => [id, $(id).type === "checkbox" ? $(id).checked : $(id).value]);
  writeText(SAVED, JSON.stringify(Object.fromEntries(values)));
  writeText(KEY, $("api-key").value, "sessionStorage");
  showSettings();
}

// All but the system prompt, which belongs to the chat, and the key.
export function resetSettings() {
  for (const id of remembered.filter((name) => name !== "system")) {
    const field = $(id);
    if (field.type === "checkbox") field.checked = field.defaultChecked;
    else field.value = field.defaultValue ?? "";
  }
  saveSettings();
}

function showSettings() {
  for (const id of sliders) $(`${id}-value`).textContent = Number($(id).value).toFixed(2);
  document.documentElement.dataset.theme = $("theme").value;
}

export function openSettings(open) {
  $("settings").hidden = !open;
  $("toggle-settings").setAttribute("aria-expanded", String(open));
  (open ? $("system") : $("toggle-settings")).focus();
}

// Shows what is wrong with a field, if anything is.
export function settingsAreValid() {
  const wrong = [...$("settings").querySelectorAll("input")].find((field) => !field.validity.valid);
  if (!wrong) return true;
  openSettings(true);
  wrong.reportValidity();
  return false;
}

function stopStrings() {
  return $("stop-strings").value.split("\n").filter((line) => line !== "").map((line) => line.replaceAll("\\n", "\n"));
}

// Of a request; read anew for each. `endTokens`: of the served model.
export function samplingFields(endTokens) {
  const fields = {
    temperature: Number($("temperature").value),
    top_p: Number($("top_p").value),
    max_tokens: Number($("max_tokens").value) || 512,
  };
  for (const [id, off] of Object.entries(neutral)) {
    if ($(id).value !== off) fields[id] = Number($(id).value);
  }
  const stop = stopStrings();
  if (stop.length > 0) fields.stop = stop;
  return $("ignore_eos").checked ? withoutEnd(fields, endTokens) : fields;
}

// Going on past an end token would start another turn, so where the server names those tokens they are ruled out.
export function withoutEnd(fields, endTokens) {
  const logit_bias = Object.fromEntries(endTokens.map((token) => [token, -100]));
  const penalized = ["repetition_penalty", "presence_penalty", "frequency_penalty"].some((name) => name in fields);
  return {
    ...(!penalized && ENDLESS_PENALTY),
    ...fields,
    ignore_eos: true,
    ...(endTokens.length > 0 && { logit_bias }),
  };
}

export function requestHeaders() {
  const key = $("api-key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

// One line above the composer: what happened, and how to take it back.
import { $ } from "./dom.js";

let undo = null;

export function showNotice(text, takeBack = null) {
  undo = takeBack;
  $("notice-text").textContent = text;
  $("undo").hidden = !takeBack;
  $("notice").hidden = false;
}

export function hideNotice() {
  undo = null;
  $("notice").hidden = true;
}

$("close-notice").addEventListener("click", hideNotice);
$("undo").addEventListener("click", () => {
  const takeBack = undo;
  hideNotice();
  takeBack?.();
});

// Small helpers that every part uses.
export const $ = (id) => document.getElementById(id);
export const number = new Intl.NumberFormat("en");
export const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function makeButton(text, action, className = "") {
  const button = make("button", className, text);
  button.type = "button";
  if (action) button.dataset.action = action;
  return button;
}

export async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = copyBySelection(text) ? "Copied" : "Cannot copy";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

// Where the clipboard's own interface is refused: it wants HTTPS or loopback.
function copyBySelection(text) {
  const area = make("textarea", "unseen");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

// Markdown to elements. A model's text is not to be trusted: marked makes HTML of it in which its own HTML is text, DOMPurify
// lets only these elements through, images become links, and the page's Content-Security-Policy would stop what is left.
import { copyText, make, makeButton } from "./dom.js";

const { marked, DOMPurify } = window;

// Debian 12's DOMPurify (2.4.1, +deb12u1) throws for every input without a variable of this name: a slip in its backport of a
// limit to nesting, which guards HTML that is written out and parsed again. Here it never is.
window.shadowNode = {};

const OPTIONS = { gfm: true, breaks: true, headerIds: false, mangle: false };

function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

marked.use({
  ...OPTIONS,
  renderer: {
    html: (html) => (/^<br\s*\/?>\s*$/i.test(html) ? "<br>" : escapeHtml(html)),
    image: (href, title, text) => `<a href="${escapeHtml(href ?? "")}">${text || "image"}</a>`,
    checkbox: (checked) => (checked ? "☑ " : "☐ "),
  },
});

const SANITIZE = {
  ALLOWED_TAGS: ["p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4",
                 "h5", "h6", "a", "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: ["href", "title", "align", "start", "class"],
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,  // no script, and nothing of this server's own
  ADD_URI_SAFE_ATTR: ["align", "start"],  // which are no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

// The top-level blocks of a text, in order: { type, raw, text, lang }. Inline marks are not looked at.
export function blocksOf(source) {
  try {
    return new marked.Lexer({ ...marked.defaults }).blockTokens(source, []);
  } catch {
    return [{ type: "text", raw: source }];  // nested too deeply
  }
}

// The text node of its code is in `.code`.
export function codeBlock(language, code) {
  const box = make("div", "code");
  const head = make("header", "");
  head.append(make("span", "", language), makeButton("Copy", "copy-code", "quiet"));
  const pre = make("pre");
  pre.tabIndex = 0;  // long ones scroll
  box.code = pre.appendChild(make("code")).appendChild(document.createTextNode(code));
  box.append(head, pre);
  return box;
}

export function copyCode(button) {
  copyText(button.closest(".code").querySelector("pre").textContent, button);
}

function dress(fragment) {
  for (const pre of fragment.querySelectorAll("pre")) {
    const language = /language-(\S+)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "";
    pre.replaceWith(codeBlock(language, pre.textContent));
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = make("div", "scrolled");
    box.tabIndex = 0;
    table.replaceWith(box);
    box.append(table);
  }
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  return fragment;
}

// Quotations and lists in each other: the browser takes minutes for some thousand.
const NESTED_TOO_DEEPLY = /^(?:[ \t]*(?:>|[-+*][ \t]|\d{1,9}[.)][ \t])){30}/m;

// Elements for one block's source; null when it is better shown as it is.
export function rendered(source) {
  return NESTED_TOO_DEEPLY.test(source) ? null : dress(DOMPurify.sanitize(marked.parse(source), SANITIZE));
}

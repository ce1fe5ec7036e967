// A text on the page that grows at its end: Markdown is drawn block by block, and only what may still change is drawn again.
// So a token costs the same however long the answer is.
import { make } from "./dom.js";
import { blocksOf, codeBlock, rendered } from "./markdown.js";

// Characters. A paragraph of 3000 characters that are all marks takes 150 ms to parse, and twice as long takes four times that;
// a table is parsed cell by cell. What is longer is cut where it hurts least.
const LONGEST_BLOCK = 3000;
const LONGEST_TABLE = 20000;
const WINDOW = LONGEST_BLOCK + 1000;

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const TABLE = /^[^\n]{0,1000}\n *[|:-][-|: ]{0,1000}(?:\n[^\n|]{0,1000}\|[^\n]{0,1000}(?=\n|$))*/;

// What of a source to look at: all of a code block or a table that it begins with, else a bounded part.
function windowOf(source) {
  const fence = FENCE.exec(source)?.[1];
  if (fence) {
    const end = new RegExp(`\\n {0,3}${fence}[${fence[0]}]* *(?=\\n|$)`).exec(source);
    return end ? source.slice(0, end.index + end[0].length) : source;
  }
  const table = TABLE.exec(source.slice(0, LONGEST_TABLE))?.[0] ?? "";
  return source.slice(0, Math.max(WINDOW, table.length));
}

function isTooLong({ type, raw }) {
  if (type === "code" && FENCE.test(raw)) return false;
  return raw.length > (type === "table" && TABLE.exec(raw)?.[0].length > WINDOW ? LONGEST_TABLE : LONGEST_BLOCK);
}

// Up to the last line that begins something at the top level, else the last line, else the last word.
function firstPart({ type, raw }) {
  const start = raw.slice(0, type === "table" ? LONGEST_TABLE : LONGEST_BLOCK);
  const unindented = [...start.matchAll(/\n(?=\S)/g)].at(-1)?.index ?? 0;
  const cut = unindented || Math.max(start.lastIndexOf("\n"), 0) || Math.max(start.lastIndexOf(" "), 0) || start.length - 1;
  return { type: "cut", raw: start.slice(0, cut + 1) };
}

// Of an unfinished text: without a last line of nothing but marks, which would be taken for something else than it becomes.
function withoutLooseMarks(source) {
  return source.replace(/(^|\n)[-=*+_#>`~|:. \t\d]{1,12}$/, "$1");
}

// Line ends and tabs as marked takes them, so that its blocks have the lengths of their sources.
function normalized(source) {
  return source.replace(/\r\n?/g, "\n").replace(/^( *)(\t+)/gm, (_, spaces, tabs) => spaces + "    ".repeat(tabs.length));
}

export class GrowingText {
  constructor(container, isMarkdown) {
    this.container = container;
    this.isMarkdown = isMarkdown;
    this.blocks = [];      // in order: { raw, element, code }; `code` is the text node of a code block
    this.numSettled = 0;   // of the blocks: they do not change any more
    this.unsettled = "";   // the source of all others
    this.text = "";
  }

  // Seen after the next `draw`.
  append(text) {
    this.text += text;
    this.unsettled += text;
  }

  draw(isWhole) {
    if (!this.isMarkdown) {
      this.container.textContent = this.text;
      this.blocks = [{ raw: this.text, element: this.container }];
      return;
    }
    this.unsettled = normalized(this.unsettled);
    while (this.drawWindow(isWhole));
  }

  // Whether there is more to draw: then at least one block was settled.
  drawWindow(isWhole) {
    const source = windowOf(this.unsettled);
    const isLast = source.length === this.unsettled.length;
    // marked takes no unfinished last line into a code block.
    const tokens = blocksOf((isLast && !isWhole ? withoutLooseMarks(source) : source) + "\n");
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    let index = this.numSettled;
    for (const [i, token] of tokens.entries()) {
      const tooLong = isTooLong(token);
      const piece = tooLong ? firstPart(token) : token;
      if (piece.type !== "space") this.drawBlock(index++, piece);
      // A code block that the window ends with is complete when more follows.
      const settled = tooLong || i < last || (isLast ? isWhole : tokens.length === 1);
      if (settled) {
        this.unsettled = this.unsettled.slice(piece.raw.length);
        this.numSettled = index;
      }
      if (tooLong) return true;
    }
    for (const block of this.blocks.splice(index)) block.element.remove();
    return !isLast;
  }

  drawBlock(index, token) {
    const block = this.blocks[index];
    if (block?.raw === token.raw) return;
    if (block?.code && token.type === "code") {
      block.code.data = token.text;
      block.raw = token.raw;
      return;
    }
    const element = make("div", "block");
    const code = fill(element, token);
    if (block) block.element.replaceWith(element);
    else this.container.append(element);
    this.blocks[index] = { raw: token.raw, element, code };
  }
}

// The text node of a code block, else undefined.
function fill(element, token) {
  if (token.type === "code") {
    const box = codeBlock(token.lang?.split(/\s/)[0] ?? "", token.text);
    element.append(box);
    return box.code;
  }
  const elements = rendered(token.raw);
  if (elements?.hasChildNodes()) {
    element.append(elements);
  } else {
    element.classList.add("as-it-is");
    element.textContent = token.raw;
  }
  return undefined;
}

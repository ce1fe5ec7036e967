// Greys what has left the window. Where exactly is an estimate: tokens are taken to be equally long.

// How much of what was sent is not seen any more, in characters.
export function forgottenLength(session, length) {
  if (!session?.evicted) return 0;
  return length - Math.round((session.resident - session.pinned) * length / session.seen);
}

// The place at a fraction of an element's text, after a whole word: [node, offset].
function placeIn(element, fraction) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let left = Math.floor(element.textContent.length * fraction);
  while (walker.nextNode()) {
    const { data } = walker.currentNode;
    if (left <= data.length) {
      const space = data.indexOf(" ", left);
      return [walker.currentNode, space < 0 ? data.length : space];
    }
    left -= data.length;
  }
  return [element, element.childNodes.length];
}

// `texts`: of all messages, in order (GrowingText). `length`: how many characters from the start are forgotten.
export function showForgotten(texts, length) {
  if (!window.CSS?.highlights) return;  // an older browser: the strip still says how much
  CSS.highlights.delete("forgotten");
  const first = texts[0]?.container;
  if (length <= 0 || !first) return;
  const range = document.createRange();
  range.setStartBefore(first);
  let left = length;
  for (const text of texts) {
    if (left >= text.text.length) {
      range.setEndAfter(text.container);
      left -= text.text.length;
      continue;
    }
    for (const { raw, element } of text.blocks) {
      if (left < raw.length) {
        range.setEnd(...placeIn(element, left / raw.length));
        break;
      }
      range.setEndAfter(element);
      left -= raw.length;
    }
    break;
  }
  CSS.highlights.set("forgotten", new Highlight(range));
}

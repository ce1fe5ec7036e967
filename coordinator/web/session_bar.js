// The strip and the line that say what the session has seen, keeps and has forgotten.
import { $, make, number, plural } from "./dom.js";

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

let kept = null;     // { sinks, window } in tokens, once known
let session = null;  // { seen, pinned, resident, evicted, exact }

export const currentSession = () => session;

export function setCapacity(tokens, sinks) {
  kept = { sinks, window: tokens - sinks };
  showSession(session);
}

export function sessionFromUsage(usage) {
  const { seen_tokens: seen, pinned_tokens: pinned, resident_tokens: resident, evicted_tokens: evicted } = usage;
  if (kept) kept = { sinks: pinned, window: kept.sinks + kept.window - pinned };
  return { seen, pinned, resident, evicted, exact: true };
}

export function sessionFromCount(seen) {
  const resident = kept ? Math.min(seen, kept.sinks + kept.window) : seen;
  return { seen, pinned: Math.min(seen, kept?.sinks ?? 0), resident, evicted: seen - resident, exact: false };
}

function showStrip({ seen, pinned, resident, evicted }) {
  const strip = $("strip");
  const free = kept ? Math.max(0, kept.sinks + kept.window - seen) : (seen ? 0 : 1);
  const parts = [["sinks", pinned, 2], ["gone", evicted, 0], ["recent", resident - pinned, evicted ? 16 : 0], ["free", free, 0]];
  parts.forEach(([name, tokens, leastPercent], index) => {
    const part = strip.children[index] ?? strip.appendChild(make("div", name));
    part.hidden = tokens === 0;
    part.style.flexGrow = tokens;
    part.style.minWidth = `${leastPercent}%`;
  });
}

// A count as it is and, for a narrow page, short; the style shows one of them.
function fitting(count) {
  return count < 10_000 ? [number.format(count)]
    : [make("span", "wide", number.format(count)), make("span", "narrow", short.format(count))];
}

// null: nothing seen yet.
export function showSession(shown) {
  session = shown;
  const { seen, pinned, resident, evicted, exact } = shown ?? { seen: 0, pinned: 0, resident: 0, evicted: 0, exact: true };
  showStrip({ seen, pinned, resident, evicted });
  const words = $("session-words");
  if (!seen) {
    $("strip").setAttribute("aria-label", "Nothing seen yet");
    words.textContent = kept ? `remembers ${plural(kept.sinks + kept.window, "token")}` : "nothing seen yet";
    return;
  }
  const about = exact ? "" : "about ";
  const split = pinned ? ` (${plural(pinned, "sink")} + ${number.format(resident - pinned)} window)` : "";
  words.replaceChildren(
    "seen ", make("span", "wide", about), ...fitting(seen), " · ", ...(pinned ? [make("i", "sinks")] : []),
    make("i", "recent"), make("span", "roomy", "resident "), ...fitting(resident), make("span", "wide", split), " · ",
    make("i", "gone"), "forgotten ", ...fitting(evicted));
  $("strip").setAttribute("aria-label", `seen ${about}${number.format(seen)} · resident ${number.format(resident)}${split} · ` +
                                        `forgotten ${number.format(evicted)}`);
}

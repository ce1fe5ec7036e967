// The browser's storage, which may be refused, full, or hold what others wrote.

function storage(kind) {
  try { return window[kind]; } catch { return null; }
}

export function readText(key, kind = "localStorage") {
  try { return storage(kind)?.getItem(key) ?? null; } catch { return null; }
}

export function readJson(key) {
  try { return JSON.parse(readText(key)); } catch { return null; }
}

// Whether it is stored now.
export function writeText(key, text, kind = "localStorage") {
  try {
    const place = storage(kind);
    place?.setItem(key, text);
    return Boolean(place);
  } catch {
    return false;
  }
}

export function remove(key) {
  try { storage("localStorage")?.removeItem(key); } catch { /* nothing was kept */ }
}

export function keys() {
  try { return Object.keys(storage("localStorage") ?? {}); } catch { return []; }
}

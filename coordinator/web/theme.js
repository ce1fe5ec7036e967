// Before the page is drawn, so that it does not flash in the other colours: light or dark, when one was chosen.
"use strict";
try {
  const { theme } = JSON.parse(localStorage.getItem("sinkstream.settings") ?? "{}") ?? {};
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* nothing is remembered: as the system */ }

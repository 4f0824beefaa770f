// Runs before the first paint, so that a chosen theme never flashes. No module: modules run later.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("payrouter-theme");
  } catch {
    // Storage is closed to this page: the system's theme it is.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();

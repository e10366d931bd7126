// Runs before the first paint, so it is short and not a module: the chosen theme, and whether scripts work.
// If a script of ours does not arrive (weak line), the page falls back to its form without scripts.
(function () {
  var root = document.documentElement;
  root.classList.add("js");
  try {
    var theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch (_) { /* storage is switched off: the system's theme is used */ }
  addEventListener("error", function (event) {
    if (event.target && event.target.tagName === "SCRIPT") root.classList.remove("js");
  }, true);
})();

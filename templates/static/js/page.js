// What every page shares: theme, steppers, clocks that run down, dialogs, share and copy, the service worker.
// Everything is wired by data attributes on the document, so that parts swapped in later work too.

const lang = document.documentElement.lang || "vi";
const numbers = new Intl.NumberFormat(lang === "vi" ? "vi-VN" : "en-GB");

export function formatNumber(value) {
  return numbers.format(value);
}

/** 185000 -> "185.000 ₫", as the server writes it. */
export function formatMoney(amount) {
  const digits = String(Math.abs(amount)).replace(/\B(?=(\d{3})+$)/g, ".");
  return `${amount < 0 ? "-" : ""}${digits}\u00a0₫`;
}

/** A short message that goes by itself; `kind` "bad" for faults. Text only, never markup. */
export function toast(text, kind = "") {
  const box = document.getElementById("toasts");
  if (!box) return;
  const line = document.createElement("p");
  line.className = kind ? `toast toast-${kind}` : "toast";
  line.textContent = text;
  box.append(line);
  setTimeout(() => line.remove(), kind === "bad" ? 8000 : 4000);
}

/** Reads <script type="application/json" id=…>; {} when it is not there. */
export function pageData(id) {
  const node = document.getElementById(id);
  return node ? JSON.parse(node.textContent) : {};
}

/** What the server made of a part of the page, as nodes. Templates escape what people typed; scripts never do. */
export function fragment(html) {
  return new DOMParser().parseFromString(html, "text/html").body.childNodes;
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch { /* kept for this page only */ }
}

function step(button) {
  const input = button.closest("[data-stepper]").querySelector("input");
  const low = Number(input.min || 0);
  const high = input.max === "" ? Infinity : Number(input.max);
  const next = (Number.parseInt(input.value, 10) || 0) + Number(button.dataset.step);
  input.value = String(Math.min(high, Math.max(low, next)));
  input.dispatchEvent(new Event("input", { bubbles: true }));
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

async function share(button) {
  // A page's own link says that it was shared (`?s=`); a link with a secret in it stays as it is.
  const url = new URL(button.dataset.share || location.href, location.href).href;
  const data = { title: button.dataset.title || document.title, url };
  if (navigator.share) {
    await navigator.share(data).catch(() => {});
  } else {
    await copy(data.url, button.dataset.done);
  }
}

async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    if (done) toast(done);
  } catch {
    prompt("", text); // no clipboard without https: the person copies it by hand
  }
}

/** Everything the market keeps on this device except the theme. */
function forget(done) {
  for (const name of ["buyer", "orders", "talk-name", "near", "stall-taps"]) localStorage.removeItem(name);
  indexedDB.deleteDatabase("listing"); // a farmer's drafts
  sessionStorage.clear();
  toast(done);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-theme-switch], [data-step], [data-share], [data-copy], [data-dialog], [data-close], [data-reload], [data-forget]");
  if (!target) return;
  if ("themeSwitch" in target.dataset) switchTheme();
  else if (target.dataset.step) step(target);
  else if ("share" in target.dataset) share(target);
  else if (target.dataset.copy) copy(target.dataset.copy, target.dataset.done);
  else if (target.dataset.dialog) document.getElementById(target.dataset.dialog)?.showModal();
  else if ("close" in target.dataset) target.closest("dialog")?.close();
  else if ("forget" in target.dataset) forget(target.dataset.done);
  else location.reload();
});

// Clocks: <span data-ends="Unix milliseconds"> shows what is left as m:ss and goes when it is over.
export function refreshClocks() {
  const now = Date.now();
  for (const node of document.querySelectorAll("[data-ends]")) {
    const left = Math.ceil((Number(node.dataset.ends) - now) / 1000);
    if (left <= 0) {
      node.removeAttribute("data-ends");
      node.hidden = true;
      node.dispatchEvent(new CustomEvent("clock:end", { bubbles: true }));
    } else {
      const text = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      const digits = node.querySelector("[data-digits]") || node;
      if (digits.textContent !== text) digits.textContent = text;
    }
  }
}
refreshClocks();
setInterval(refreshClocks, 500);

// A list that is searched as one types: <input data-filter="list-id">, items with data-key (folded by the server).
document.addEventListener("input", async (event) => {
  const box = event.target.closest("[data-filter]");
  if (!box) return;
  const { fold } = await import("./fold.js");
  const wanted = fold(box.value);
  let shown = 0;
  for (const item of document.querySelectorAll(`#${box.dataset.filter} [data-key]`)) {
    item.hidden = !item.dataset.key.includes(wanted);
    if (!item.hidden) shown += 1;
  }
  const none = document.getElementById(`${box.dataset.filter}-none`);
  if (none) none.hidden = shown > 0;
});

// Parts of a page that another part of the market makes: they come once the page is there.
for (const box of document.querySelectorAll("[data-include]")) {
  fetch(box.dataset.include, { headers: { "HX-Request": "true" } })
    .then(async (answer) => { if (answer.ok) box.replaceChildren(...fragment(await answer.text())); })
    .catch(() => {});
}

// Bells are looked at once the page is there; they are never what somebody waits for.
if (document.getElementById("following-words")) addEventListener("load", () => import("./following.js"));

// Where a session is shown to visitors, that it was seen is counted (people at work are not its public).
if (!document.body.classList.contains("place")) {
  addEventListener("load", () => import("./beacons.js").then(({ countSessions }) => countSessions(document.body)));
}

if ("serviceWorker" in navigator && isSecureContext) {
  addEventListener("load", () => navigator.serviceWorker.register("/sw.js").catch(() => {}));
}

// Stock by large buttons: taps are gathered for a moment and sent as one change with one key, which is kept on this device
// until the market has answered. A broken line loses nothing, and the same change sent twice counts once.

import { formatNumber, pageData } from "./page.js";

const GATHER_MS = 700;
const AGAIN_MS = 5000;
const KEPT = "stall-taps";
const LATER = [429, 502, 503, 504];
const { words } = pageData("stall-data");

// shelf ("product:grade") -> [{key, change}], the last one still gathering unless `sealed`
const waiting = read();

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) || {};
  } catch {
    return {};
  }
}

function keep() {
  try {
    localStorage.setItem(KEPT, JSON.stringify(waiting));
  } catch { /* storage is switched off: kept in this page only */ }
}

const shelfOf = (name) => document.querySelector(`[data-shelf="${CSS.escape(name)}"]`);
const open = (name) => (waiting[name] || []).reduce((sum, one) => sum + one.change, 0);

function show(name, text = "") {
  const shelf = shelfOf(name);
  if (!shelf) return;
  shelf.querySelector("[data-now]").textContent = formatNumber(Math.max(0, Number(shelf.dataset.left) + open(name)));
  const line = shelf.querySelector("[data-sent]");
  line.textContent = text;
  line.hidden = !text;
}

const timers = {};
const busy = {};

async function send(name) {
  clearTimeout(timers[name]);
  const next = waiting[name]?.[0];
  const shelf = shelfOf(name);
  if (!next || busy[name] || !shelf) return;
  next.sealed = true; // taps from now on are another change
  keep();
  busy[name] = true;
  show(name, words.sending);
  try {
    const body = new URLSearchParams({ grade: shelf.elements.grade.value, change: next.change, key: next.key });
    const answer = await fetch(shelf.action, { method: "POST", body, headers: { Accept: "application/json" } });
    if (LATER.includes(answer.status)) throw new Error("later");
    const said = await answer.json().catch(() => ({}));
    waiting[name].shift();
    if (!waiting[name].length) delete waiting[name];
    keep();
    if (answer.ok) shelf.dataset.left = said.left;
    show(name, answer.ok ? words.done : said.detail || "");
  } catch {
    show(name, words.kept);
    timers[name] = setTimeout(() => send(name), AGAIN_MS);
  }
  busy[name] = false;
  if (waiting[name]?.length && !waiting[name][0].sealed) timers[name] = setTimeout(() => send(name), GATHER_MS);
}

document.addEventListener("submit", (event) => {
  const shelf = event.target.closest("[data-shelf]");
  const tap = event.submitter?.name === "change" ? Number(event.submitter.value) : 0;
  if (!shelf || !tap) return;
  event.preventDefault();
  const name = shelf.dataset.shelf;
  const list = (waiting[name] ??= []);
  const now = Number(shelf.dataset.left) + open(name);
  const change = Math.max(tap, -now); // nobody sells less than nothing
  if (!change) return;
  const last = list.at(-1);
  if (last && !last.sealed) last.change += change;
  else list.push({ key: crypto.randomUUID(), change });
  keep();
  show(name);
  clearTimeout(timers[name]);
  timers[name] = setTimeout(() => send(name), GATHER_MS);
});

addEventListener("online", () => Object.keys(waiting).forEach(send));
for (const name of Object.keys(waiting)) {
  show(name);
  send(name);
}

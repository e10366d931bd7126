// The helper's desk by keyboard: j k move, Enter confirms, x dismisses, e edits, n goes to the entry form; a pasted
// comment is read at once. Every form works without this file; here its part of the page is swapped instead.

import { fragment, pageData, toast } from "./page.js";

const EVERY_MS = 3000; // how often the list of comment orders is asked for
const DOUBLE_TAP_MS = 350; // a second tap in this time was meant for the card that has just gone

const data = pageData("desk-data");
const find = (id) => document.getElementById(id);
const cards = () => Array.from(document.querySelectorAll("[data-candidate]"));

// ---- forms in the background

async function fetchPart(url, options = {}) {
  const answer = await fetch(url, { ...options, headers: { "HX-Request": "true", ...options.headers } });
  const text = await answer.text();
  if (!answer.ok) {
    const told = new DOMParser().parseFromString(text, "text/html").body.textContent.replace(/\s+/g, " ").trim();
    throw new Error(told);
  }
  return text;
}

/** Puts the part in place of the old one; the card one was at, or the one that moved up, keeps the focus. */
function swap(name, html) {
  const old = find(name);
  const focused = document.activeElement?.closest?.("[data-candidate]");
  const at = focused ? cards().indexOf(focused) : -1;
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById(name);
  if (!old || !fresh) return;
  old.replaceWith(fresh);
  if (name === "candidates" && at >= 0) {
    const now = cards();
    (now.find((card) => card.dataset.candidate === focused.dataset.candidate) || now[Math.min(at, now.length - 1)])?.focus();
  }
}

let sending = 0;
let swappedAt = -DOUBLE_TAP_MS; // when a card of ours made room for the next

async function send(url, form, part) {
  sending += 1;
  try {
    swap(part, await fetchPart(url, { method: "POST", body: new URLSearchParams(new FormData(form)) }));
    if (part === "candidates") swappedAt = performance.now();
    if (part === "entry") find(`entry-${find("entry").dataset.next}`)?.focus();
    else if (part === "candidates") refresh();
  } catch (error) {
    toast(error.message || data.words.try_again, "bad");
  } finally {
    sending -= 1;
  }
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-part]");
  if (!form) return;
  event.preventDefault();
  if (form.getAttribute("aria-busy") === "true") return; // a nervous thumb
  form.setAttribute("aria-busy", "true");
  await send(event.submitter?.getAttribute("formaction") || form.action, form, form.dataset.part);
  form.removeAttribute("aria-busy");
});

// ---- a pasted comment is read

function readPasted(area) {
  if (area.value.trim()) send(area.dataset.read, area.form, "entry");
}

document.addEventListener("paste", (event) => {
  const area = event.target.closest?.("[data-read]");
  if (area) setTimeout(() => readPasted(area));
});

// On a phone one tap instead of the long press and its menu. Not allowed, or no https: pasted by hand.
document.addEventListener("click", async (event) => {
  const area = event.target.closest("[data-paste]")?.form.elements.pasted;
  if (!area) return;
  try {
    area.value = await navigator.clipboard.readText();
    readPasted(area);
  } catch {
    area.focus();
  }
});

// ---- the list keeps up

async function refresh() {
  const list = find("candidates");
  const busy = sending > 0 || list.querySelector("details[open]") || list.contains(document.activeElement?.closest("input, select"));
  if (busy || document.hidden) return;
  const html = await fetchPart(`${data.address}?part=candidates`).catch(() => null);
  if (html && sending === 0 && !find("candidates").querySelector("details[open]")) swap("candidates", html);
}
if (data.live) setInterval(refresh, EVERY_MS);

/** What was said comes in more slowly, and waits while a thumb or a finger on the keys is in it. */
async function refreshTalk() {
  if (sending > 0 || document.hidden || find("talk").contains(document.activeElement)) return;
  const html = await fetchPart(`${data.address}?part=talk`).catch(() => null);
  if (html && sending === 0 && !find("talk").contains(document.activeElement)) swap("talk", html);
}
if (data.live) setInterval(refreshTalk, 2 * EVERY_MS);

// How reading the commune's Page and channel goes.
let told = "";
async function showNetworks() {
  if (document.hidden) return;
  const html = await fetchPart(`${data.address}/networks`).catch(() => null);
  if (html === null || html === told) return;
  told = html;
  find("networks").replaceChildren(...fragment(html));
}
if (data.live) {
  showNetworks();
  setInterval(showNetworks, 3 * EVERY_MS);
}

// ---- keys

function edit(card) {
  card.querySelector("details").open = true;
  card.querySelector("[name=lines]").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const area = event.target.closest("[data-read]");
  if (area && event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    readPasted(area);
    return;
  }
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const all = cards();
  const tooSoon = event.repeat || performance.now() - swappedAt < DOUBLE_TAP_MS;
  const card = event.target.closest("[data-candidate]");
  const at = all.indexOf(card);
  if (event.key === "j") all[Math.min(at + 1, all.length - 1)]?.focus();
  else if (event.key === "k") all[Math.max(at - 1, 0)]?.focus();
  else if (event.key === "n") find("entry-pasted")?.focus();
  else if (card && event.key === "e") edit(card);
  else if (card && event.target === card && event.key === "Enter") {
    if (tooSoon) return;
    if (card.classList.contains("candidate-sure")) card.querySelector("[data-confirm]").click();
    else edit(card); // what has a doubt is looked at first; Enter in its fields confirms
  } else if (card && event.key === "x" && !tooSoon) card.querySelector("[data-dismiss]").click();
  else return;
  event.preventDefault();
});

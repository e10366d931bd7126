// Listing in three steps. The form works without this file; here one step is shown at a time, the draft (photos too) is
// kept on this device until the market has answered, photos are made small before they travel, and a listing that did not
// get through is sent again by itself. The key of the form makes a second sending the same listing.

import { formatMoney, formatNumber, pageData, toast } from "./page.js";

const LONG_SIDE = 1600; // pixels; the market shows at most 1080
const AGAIN_MS = 8000;
const LATER = [429, 502, 503, 504]; // the market is busy, or not there for a moment

const data = pageData("listing-data");
const { words } = data;
const form = document.getElementById("listing");
const note = document.getElementById("draft-note");
const files = {}; // input name -> Blob, already small
let sending = false;
let pending = false; // told to send, not answered yet

const field = (name) => form.elements.namedItem(name);
const value = (name) => field(name)?.value ?? "";
const whole = (text) => Number.parseInt(String(text).replace(/\D/g, ""), 10) || 0;
const dots = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ".");

// ---- the draft, on this device

function store() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("listing", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("drafts");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function drafts(mode, act) {
  try {
    const base = await store();
    return await new Promise((resolve, reject) => {
      const request = act(base.transaction("drafts", mode).objectStore("drafts"));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } catch {
    return null; // no storage (private window): the page itself still holds everything
  }
}

function texts() {
  const kept = {};
  for (const [name, one] of new FormData(form)) if (typeof one === "string") kept[name] = one;
  return kept;
}

let saving = null;
function save(now = false) {
  clearTimeout(saving);
  const write = () => drafts("readwrite", (box) => box.put({ texts: texts(), files: { ...files }, step: form.dataset.at, pending }, data.draft));
  if (now) return write();
  saving = setTimeout(write, 300);
  return null;
}

const drop = () => drafts("readwrite", (box) => box.delete(data.draft));

async function restore() {
  const kept = await drafts("readonly", (box) => box.get(data.draft));
  if (!kept || Object.keys(data.errors).length) return;
  for (const [name, text] of Object.entries(kept.texts)) {
    const node = field(name);
    if (!node) continue;
    if (node.type === "checkbox") node.checked = true;
    else node.value = text; // a group of radio buttons takes its value too
  }
  for (const [name, blob] of Object.entries(kept.files)) if (blob) setPhoto(name, blob);
  show(Number(kept.step) || 1, false);
  tell(words.restored, true);
  if (kept.pending) send();
}

function tell(text, droppable = false) {
  note.hidden = !text;
  note.querySelector("p").textContent = text;
  document.getElementById("draft-drop").hidden = !droppable;
}

document.getElementById("draft-drop").addEventListener("click", async () => {
  pending = false;
  clearTimeout(saving);
  await drop();
  location.reload();
});

// ---- photos

async function shrink(file) {
  try {
    const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, LONG_SIDE / Math.max(picture.width, picture.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(picture.width * scale);
    canvas.height = Math.round(picture.height * scale);
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const small = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.85));
    return small || file;
  } catch {
    return file; // the market says what is wrong with it
  }
}

function setPhoto(name, blob) {
  files[name] = blob;
  const seen = form.querySelector(`[data-shot="${name}"] .shot-seen`);
  if (seen.src.startsWith("blob:")) URL.revokeObjectURL(seen.src);
  seen.src = URL.createObjectURL(blob);
  seen.hidden = false;
  fault(name, "");
}

async function taken(input) {
  if (!input?.files[0]) return;
  setPhoto(input.dataset.file, await shrink(input.files[0]));
  input.value = ""; // the small one is sent instead
  await save(true);
}

form.addEventListener("change", (event) => taken(event.target.closest("[data-file]")));

// ---- steps

function show(step, focus = true) {
  form.dataset.at = String(step);
  for (const part of form.querySelectorAll("[data-part]")) part.hidden = part.dataset.part !== String(step);
  for (const mark of form.querySelectorAll("[data-go]")) {
    if (mark.dataset.go === String(step)) mark.setAttribute("aria-current", "step");
    else mark.removeAttribute("aria-current");
  }
  document.getElementById("step-back").hidden = step === 1;
  document.getElementById("step-on").hidden = step === 3;
  if (step === 3) preview();
  if (focus) {
    scrollTo(0, 0);
    form.querySelector(`[data-part="${step}"] h2`).focus({ preventScroll: true });
  }
  save();
}

function missing(step) {
  if (step === 1 && !files.photo && !data.has_photo && !value("art")) return { photo: words.no_photo };
  return {};
}

document.getElementById("step-on").addEventListener("click", () => {
  const step = Number(form.dataset.at);
  const gaps = missing(step);
  for (const [name, text] of Object.entries(gaps)) fault(name, text);
  if (!Object.keys(gaps).length) show(step + 1);
});
document.getElementById("step-back").addEventListener("click", () => show(Number(form.dataset.at) - 1));

// ---- big controls

form.addEventListener("click", (event) => {
  const turn = event.target.closest("[data-turn]");
  const chip = event.target.closest("[data-usual]");
  if (turn) {
    const dial = turn.closest("[data-dial]");
    const input = dial.querySelector("input");
    input.value = dots(Math.max(0, whole(input.value) + Number(turn.dataset.turn) * Number(dial.dataset.dial)));
    input.dispatchEvent(new Event("input", { bubbles: true }));
  } else if (chip) usual(data.usual[chip.dataset.usual]);
});

function usual(one) {
  field("name").value = one.name;
  field("unit").value = one.unit;
  field("industry").value = one.industry;
  field("art").value = one.art;
  field("shelf_life").value = one.shelf_life;
  field("fresh").checked = one.fresh;
  field("grading").value = one.grades[0] ? "many" : "one";
  one.grades.forEach((grade, index) => {
    field(`price-${grade}`).value = dots(one.price - index * 2 * one.step);
  });
  for (const dial of form.querySelectorAll("[data-money]")) dial.closest("[data-dial]").dataset.dial = one.step;
  refresh();
  field("name").focus();
  save();
}

function refresh() {
  const many = value("grading") === "many";
  for (const part of form.querySelectorAll("[data-grading]")) part.hidden = (part.dataset.grading === "many") !== many;
  for (const mark of form.querySelectorAll("[data-unit]")) mark.textContent = words.units[value("unit")] || "";
}

form.addEventListener("input", (event) => {
  if (event.target.name) fault(event.target.name, "");
  if (pending && data.code) field("key").value = crypto.randomUUID(); // what is changed now is another change
  refresh();
  save();
});

function offers() {
  const rows = Array.from(form.querySelectorAll(`[data-grading="${value("grading")}"] [data-grade]`));
  return rows
    .map((row) => ({ name: row.dataset.grade, price: whole(value(`price-${row.dataset.grade}`)), left: whole(value(`left-${row.dataset.grade}`)) }))
    .filter((one) => one.price);
}

function preview() {
  const card = document.getElementById("preview");
  const image = card.querySelector("img");
  image.src = form.querySelector('[data-shot="photo"] .shot-seen').src || "";
  image.hidden = !image.getAttribute("src");
  card.querySelector("h3").textContent = value("name");
  const unit = words.units[value("unit")] || "";
  card.querySelector("[data-offers]").replaceChildren(
    ...offers().map((one) => {
      const line = document.createElement("li");
      const title = one.name ? `${words.grade.replace("{grade}", one.name)}: ` : "";
      line.textContent = `${title}${formatMoney(one.price)}/${unit} · ${words.left.replace("{n}", `${formatNumber(one.left)} ${unit}`)}`;
      return line;
    }),
  );
  card.querySelector("[data-facts]").textContent = [value("origin"), value("shelf_life")].filter(Boolean).join(" · ");
}

// ---- sending

function fault(name, text) {
  const line = form.querySelector(`[data-fault="${CSS.escape(name)}"]`);
  if (!line) return false;
  line.querySelector("span").textContent = text;
  line.hidden = !text;
  const input = field(name);
  if (input instanceof HTMLElement) input.setAttribute("aria-invalid", String(Boolean(text)));
  return true;
}

/** `offers[1].price` is the second price that was given. */
function inputOf(name) {
  const found = /^offers\[(\d+)\]\.(\w+)$/.exec(name);
  const row = found && (value("grading") === "one" ? { name: "" } : offers()[Number(found[1])]);
  return row ? `${found[2]}-${row.name}` : name;
}

function told(problem) {
  const faults = problem.errors || [{ field: problem.code?.startsWith("photo") || problem.code === "not_a_photo" ? "photo" : "", message: problem.detail }];
  const homeless = [];
  for (const one of faults) if (!fault(inputOf(one.field), one.message)) homeless.push(one.message);
  if (homeless.length) toast(homeless.join(" "), "bad");
  const first = form.querySelector(".fault:not([hidden])");
  if (first) {
    show(Number(first.closest("[data-part]").dataset.part), false);
    first.closest("details")?.setAttribute("open", "");
    first.scrollIntoView({ block: "center" });
  }
}

let retry = null;
async function send() {
  if (sending) return;
  sending = true;
  pending = true;
  clearTimeout(retry);
  const button = document.getElementById("listing-send");
  button.setAttribute("aria-busy", "true");
  await save(true);
  const body = new FormData(form);
  for (const name of ["photo", "paper_photo"]) {
    body.delete(name);
    if (files[name]) body.append(name, files[name], `${name}.jpg`);
  }
  try {
    const answer = await fetch(form.getAttribute("action"), { method: "POST", body, headers: { Accept: "application/json" } });
    const said = await answer.json().catch(() => ({}));
    if (answer.ok && said.url) {
      pending = false;
      clearTimeout(saving);
      await drop();
      location.assign(said.url);
      return;
    }
    if (LATER.includes(answer.status)) throw new Error("later");
    pending = false;
    if (answer.status === 401) tell(words.signed_out);
    else told(said);
    await save(true);
  } catch {
    tell(words.waiting);
    retry = setTimeout(send, AGAIN_MS);
  } finally {
    sending = false;
    if (!pending) button.removeAttribute("aria-busy");
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
addEventListener("online", () => pending && send());
document.addEventListener("visibilitychange", () => document.hidden && save(true));

refresh();
show(Object.keys(data.errors).length ? 2 : 1, false);
await restore();
refresh();
for (const input of form.querySelectorAll("[data-file]")) taken(input); // chosen before this file had come

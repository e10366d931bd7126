// The host's console in motion: numbers, orders and comments in; pins, deals and the end out over /api/v1.
// Every tap is a form that works without this file; here it is sent without leaving the page, and what all
// screens show comes back as a frame, so two phones with this page never disagree.

import { connectLive } from "./live-socket.js";
import { formatMoney, formatNumber, pageData, toast } from "./page.js";

const ORDERS_KEPT = 50;
const COMMENTS_KEPT = 200;
const MONEY_EVERY_MS = 2000;
const SURELY_MS = 4000; // the longest pause before a tap is sent again; then the host is told
const PICTURE_EVERY_MS = 3000;
const NUMBERS = new Set(["price", "quantity", "minutes", "chapter"]);

const data = pageData("console-data");
const words = data.words;
const items = new Map(data.lineup.map((item) => [item.code, item]));
const find = (id) => document.getElementById(id);
const row = (code) => document.querySelector(`.item[data-code="${CSS.escape(code)}"]`);

// ---- taps

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-api]");
  if (!form) return;
  event.preventDefault();
  const button = event.submitter || form.querySelector("button");
  if (button.getAttribute("aria-busy") === "true") return; // a nervous thumb
  button.setAttribute("aria-busy", "true");
  const body = {};
  if (form.classList.contains("deal-open")) body.tap = crypto.randomUUID(); // sent again, it is the same tap
  for (const [name, value] of new FormData(form)) body[name] = NUMBERS.has(name) ? Number(value) : value;
  try {
    const method = form.dataset.method || "POST";
    const answer = await surely(form.dataset.api, {
      method,
      headers: { "Content-Type": "application/json" },
      body: method === "POST" ? JSON.stringify(body) : null,
    });
    if (answer.ok) done(form);
    else {
      const told = await answer.json().catch(() => ({}));
      toast(told.errors?.map((one) => one.message).join(" ") || told.detail || words.try_again, "bad");
    }
  } catch {
    toast(words.try_again, "bad");
  }
  button.removeAttribute("aria-busy");
});

/** Sends again for a few seconds when the line breaks: every tap here may safely come twice. */
async function surely(url, options) {
  for (let pause = 500; ; pause *= 2) {
    try {
      return await fetch(url, options);
    } catch (error) {
      if (pause > SURELY_MS) throw error;
      setLine(words.reconnecting);
      await new Promise((resolve) => { setTimeout(resolve, pause); });
    }
  }
}

function done(form) {
  form.closest("dialog")?.close();
  if (form.dataset.then === "reload") location.reload();
  if (form.dataset.then === "outlets") drawOutlets();
  const deal = form.closest("details.deal");
  if (deal) {
    deal.open = false;
    toast(words.deal);
  }
}

document.addEventListener("click", (event) => {
  const part = event.target.closest("[data-part]");
  if (!part) return;
  event.preventDefault();
  document.querySelector(".console-body").dataset.now = part.dataset.part;
  for (const tab of document.querySelectorAll("[data-part]")) {
    if (tab === part) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (part.dataset.part === "talk") comments.scrollTop = comments.scrollHeight;
});

// ---- OBS and other networks

const outlets = find("outlets");

/** The part anew, as the server has it; what stands open stays open, and the camera is not disturbed. */
async function drawOutlets() {
  const answer = await fetch(outlets.dataset.partOf, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!answer?.ok) return;
  const open = [...outlets.querySelectorAll("details[open]")].map((one) => one.id);
  outlets.replaceChildren(...new DOMParser().parseFromString(await answer.text(), "text/html").body.childNodes);
  for (const id of open) find(id)?.setAttribute("open", "");
}

async function lookAtPicture() {
  if (document.visibilityState !== "visible" || !outlets.querySelector("details[open]")) return;
  const answer = await fetch(`${data.api}/picture`).catch(() => null);
  if (!answer?.ok) return;
  const picture = await answer.json();
  if (picture.source === "rtmp" && picture.state !== "none") {
    outlets.querySelector("[data-picture]").textContent =
      picture.text || `${picture.width}×${picture.height} · ${formatNumber(picture.kbit_per_s)} kbit/s`;
  }
  for (const outlet of picture.outlets) {
    const line = outlets.querySelector(`[data-outlet="${outlet.id}"]`);
    if (!line) continue;
    line.dataset.state = outlet.state;
    line.querySelector("[data-outlet-text]").textContent = outlet.text;
  }
}

outlets?.addEventListener("click", (event) => {
  const button = event.target.closest("[data-reveal]");
  if (!button) return;
  const secret = outlets.querySelector("[data-secret]");
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  secret.textContent = shown ? secret.dataset.secret : "•".repeat(16);
});
if (outlets) setInterval(lookAtPicture, PICTURE_EVERY_MS);
if (document.querySelector("[data-waiting]")) setTimeout(() => location.reload(), 4000);

// ---- what the room says

function setCount(id, text) {
  const node = find(id);
  if (node.textContent === text) return;
  node.textContent = text;
  node.classList.remove("up");
  void node.offsetWidth; // lets the animation begin anew
  node.classList.add("up");
}

function setCounts(frame) {
  if ("viewers" in frame) find("count-viewers").textContent = formatNumber(frame.viewers);
  if ("units" in frame) setCount("count-units", formatNumber(frame.units));
  if ("orders" in frame) {
    const before = find("count-orders").textContent;
    setCount("count-orders", formatNumber(frame.orders));
    if (before !== find("count-orders").textContent) askMoney();
  }
}

let asking = null;
function askMoney() {
  asking ??= setTimeout(async () => {
    asking = null;
    const answer = await fetch(`/host/${data.code}/money`).catch(() => null);
    if (answer?.ok) setCount("count-money", await answer.text());
  }, MONEY_EVERY_MS);
}

function setPinned(card) {
  for (const node of document.querySelectorAll(".item")) {
    const on = node.dataset.code === card?.code;
    node.classList.toggle("item-pinned", on);
    const button = node.querySelector(".btn-pin");
    if (!button) continue;
    button.setAttribute("aria-pressed", String(on));
    button.querySelector("[data-pin-label]").textContent = on ? words.pinned : words.pin;
  }
  for (const button of document.querySelectorAll("[data-dock]")) {
    const on = button.dataset.dock === card?.code;
    if (on && button.getAttribute("aria-pressed") !== "true") button.closest("li").scrollIntoView({ block: "nearest", inline: "center" });
    button.setAttribute("aria-pressed", String(on));
  }
}

function setDeals(deals) {
  const now = new Map(deals.map((deal) => [deal.code, deal]));
  for (const [code, item] of items) {
    const node = row(code);
    if (!node) continue;
    const deal = now.get(code);
    node.querySelector("[data-price] b").textContent = formatMoney(deal ? deal.price : item.price);
    node.querySelectorAll(".deal-stop").forEach((form) => { form.hidden = !deal; });
    node.querySelectorAll(".deal").forEach((details) => { details.hidden = Boolean(deal); });
    const clock = node.querySelector("[data-clock]");
    clock.hidden = !deal;
    if (deal) clock.dataset.ends = String(deal.ends_at);
    else delete clock.dataset.ends;
  }
}

function setStock(stock) {
  for (const [code, left] of Object.entries(stock)) {
    const node = row(code);
    if (!node) continue;
    node.querySelector("[data-left]").textContent = left
      ? words.left.replace("{n}", `${formatNumber(left)} ${words.units[items.get(code).unit]}`)
      : words.none_left;
    for (const input of node.querySelectorAll("[data-quantity]")) {
      input.value = String(left);
      input.form.querySelector("button").disabled = left === 0;
    }
  }
}

// ---- orders and comments: strangers' words, only ever text

function addOrder(order) {
  const list = find("orders");
  if (list.querySelector(`[data-id="${CSS.escape(order.code)}"]`)) return;
  find("orders-none").hidden = true;
  const line = document.createElement("li");
  line.className = "list-item fresh";
  line.dataset.id = order.code;
  const who = document.createElement("span");
  who.className = "grow";
  const name = document.createElement("strong");
  name.textContent = order.name;
  const what = document.createElement("span");
  what.className = "small muted";
  what.textContent = order.lines.map((one) => `${one.code} × ${formatNumber(one.quantity)} ${words.units[one.unit]}`).join(", ");
  who.append(name, document.createElement("br"), what);
  const money = document.createElement("b");
  money.className = "num";
  money.textContent = formatMoney(order.total);
  line.append(who, money);
  list.prepend(line);
  showLast(name.textContent, what.textContent, money.textContent);
  while (list.children.length > ORDERS_KEPT) list.lastElementChild.remove();
  askMoney();
}

/** The newest order, above the thumb, whatever part of the console is open. */
function showLast(who, what, total) {
  const last = find("last-order");
  if (!last) return;
  last.hidden = false;
  last.querySelector("[data-who]").textContent = who;
  last.querySelector("[data-what]").textContent = what;
  last.querySelector("[data-total]").textContent = total;
  last.classList.remove("up");
  void last.offsetWidth;
  last.classList.add("up");
}

const comments = find("comments");

function addComments(fresh, hidden = []) {
  for (const id of hidden) comments.querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
  const atEnd = comments.scrollHeight - comments.scrollTop - comments.clientHeight < 60;
  for (const comment of fresh) {
    if (comments.querySelector(`[data-id="${CSS.escape(comment.id)}"]`)) continue;
    const line = find("comment-line").content.firstElementChild.cloneNode(true);
    line.dataset.id = comment.id;
    line.querySelector("b").textContent = comment.name;
    if (comment.origin) line.querySelector("b").dataset.origin = comment.origin;
    line.querySelector("[data-text]").textContent = comment.text;
    const form = line.querySelector("form");
    form.action = `/host/${data.code}/comments/${encodeURIComponent(comment.id)}/hide`;
    form.dataset.api = `${data.api}/comments/${encodeURIComponent(comment.id)}/hide`;
    comments.append(line);
  }
  while (comments.children.length > COMMENTS_KEPT) comments.firstElementChild.remove();
  if (atEnd) comments.scrollTop = comments.scrollHeight;
}

// ---- frames

function setLine(text) {
  find("line-state").hidden = !text;
  find("line-state").textContent = text;
}

const on = {
  snapshot(frame) {
    setCounts(frame);
    setDeals(frame.deals);
    setStock(frame.stock);
    setPinned(frame.pinned);
    comments.replaceChildren();
    addComments(frame.comments);
    on.state(frame);
  },
  tick(frame) {
    setCounts(frame);
    setLine(frame.stale ? words.stale : "");
  },
  pin: (frame) => setPinned(frame.pinned),
  deal: (frame) => setDeals(frame.deals),
  stock(frame) {
    setStock(frame.stock);
    setCounts(frame);
  },
  comments: (frame) => addComments(frame.comments, frame.hidden),
  order: addOrder,
  state(frame) {
    if (frame.state && frame.state !== data.state) location.reload(); // the other phone began or ended it
  },
};

setDeals(data.snapshot.deals);
comments.scrollTop = comments.scrollHeight;
// The staff's socket carries what viewers get and the orders; it is not counted among those who watch.
if (data.staff_url) {
  connectLive({
    url: data.staff_url,
    refreshUrl: `${data.api}/ticket?staff=true`,
    onFrame: (frame) => on[frame.type]?.(frame),
    onStatus: (status) => setLine(status === "open" || status === "ended" ? "" : words.reconnecting),
  });
}

// A session's page in motion: frames of the live socket in, comments and orders out (over HTTP).
// Comments and names are what strangers typed: they only ever become text nodes.

import { connectLive } from "./live-socket.js";
import { Basket } from "./basket.js";
import { formatMoney, formatNumber, pageData, toast } from "./page.js";

const COMMENTS_KEPT = 200; // lines in the page; older ones are dropped from the top
const ON_STAGE = 3;

const data = pageData("session-data");
const words = data.words;
const offers = new Map();
for (const entry of data.lineup) {
  for (const offer of entry.offers) {
    offers.set(offer.code, { ...offer, product: entry.product, unit: entry.product.unit, deal: null, left: data.snapshot.stock[offer.code] ?? 0 });
  }
}
let pinned = data.snapshot.pinned?.code || null;

const find = (id) => document.getElementById(id);
const basket = new Basket(data, offers, words);
basket.onChange = drawBuybar;
basket.onAdd = (code) => tell("basket", code);

// What nobody waits for comes once the page can be used: on a weak line each file more is half a second.
const beacons = import("./beacons.js");
const tell = (kind, code) => beacons.then((it) => it.tell(kind, code), () => {});
beacons.then((it) => {
  it.countViews(document.querySelectorAll(".offer"));
  it.countTaps(find("buy"));
}, () => {});

// ---- counts

function setCount(id, value, celebrate) {
  const node = find(id);
  const text = formatNumber(value);
  if (node.textContent === text) return;
  node.textContent = text;
  if (celebrate) {
    node.classList.remove("up");
    void node.offsetWidth; // lets the animation begin anew
    node.classList.add("up");
  }
}

function setCounts(frame) {
  if ("viewers" in frame) setCount("count-viewers", frame.viewers, false);
  if ("orders" in frame) setCount("count-orders", frame.orders, true);
  if ("units" in frame) setCount("count-units", frame.units, true);
}

// ---- goods

function setStock(stock) {
  for (const [code, left] of Object.entries(stock)) {
    const offer = offers.get(code);
    if (!offer) continue;
    offer.left = left;
    const row = document.querySelector(`.offer[data-code="${CSS.escape(code)}"]`);
    if (!row) continue;
    row.querySelector("[data-left]").textContent = left
      ? words.left.replace("{n}", `${formatNumber(left)} ${words.units[offer.unit]}`)
      : words.none_left;
    const buy = row.querySelector("[data-buy]");
    if (buy) buy.disabled = left === 0;
    const input = row.querySelector("input");
    if (input) input.max = String(left);
    if ((basket.lines.get(code) || 0) > left) basket.set(code, left);
  }
  drawBuybar();
}

function setDeals(deals) {
  const now = new Map(deals.map((deal) => [deal.code, deal]));
  for (const [code, offer] of offers) {
    offer.deal = now.get(code) || null;
    drawPrice(code, offer);
  }
  if (basket.sheet) basket.changed();
}

function drawPrice(code, offer) {
  const row = document.querySelector(`.offer[data-code="${CSS.escape(code)}"]`);
  if (!row) return;
  const price = row.querySelector(".price");
  price.querySelector("b").textContent = formatMoney(basket.price(code));
  price.querySelectorAll("s, .vh").forEach((node) => node.remove());
  const clock = row.querySelector("[data-clock]");
  row.classList.toggle("offer-now", Boolean(offer.deal));
  if (offer.deal) {
    const old = document.createElement("s");
    old.textContent = formatMoney(offer.price);
    price.append(old);
    clock.dataset.ends = String(offer.deal.ends_at);
    clock.hidden = false;
  } else {
    clock.hidden = true;
    delete clock.dataset.ends;
  }
}

document.addEventListener("clock:end", (event) => {
  const code = event.target.closest(".offer")?.dataset.code;
  const offer = offers.get(code);
  if (!offer) return;
  offer.deal = null;
  drawPrice(code, offer);
  if (basket.sheet) basket.changed();
});

function setPinned(card) {
  pinned = card?.code || null;
  const product = pinned && offers.get(pinned)?.product.code;
  for (const good of document.querySelectorAll(".good")) {
    good.classList.toggle("good-pinned", good.dataset.product === product);
  }
  const list = find("buy");
  const shown = product && list.querySelector(`.good[data-product="${CSS.escape(product)}"]`);
  const first = list.querySelector(".good");
  if (shown && shown !== first && !list.contains(document.activeElement)) first.before(shown);
  drawBuybar();
}

function drawBuybar() {
  const button = find("buybar-buy");
  if (!button) return;
  if (basket.lines.size > 0) {
    button.textContent = words.basket.replace("{total}", formatMoney(basket.total()));
    delete button.dataset.buy;
    button.disabled = false;
    return;
  }
  const offer = [offers.get(pinned), ...offers.values()].find((one) => one && one.left > 0);
  button.disabled = !offer;
  button.textContent = offer
    ? words.buy.replace("{code}", offer.code).replace("{price}", formatMoney(basket.price(offer.code)))
    : words.none_left;
  if (offer) button.dataset.buy = offer.code;
}
find("buybar-buy")?.addEventListener("click", () => {
  if (basket.lines.size > 0) basket.open();
});

// ---- comments

const list = find("comments");
const side = document.querySelector(".session-side");
let unread = 0;

function commentLine(comment) {
  const line = document.createElement("li");
  line.dataset.id = comment.id;
  const who = document.createElement("b");
  who.textContent = comment.name;
  if (comment.origin) who.dataset.origin = comment.origin;
  line.append(who, " ", comment.text);
  return line;
}

function addComments(comments, hidden = []) {
  for (const id of hidden) {
    document.querySelectorAll(`[data-id="${CSS.escape(id)}"]`).forEach((line) => line.remove());
  }
  const fresh = comments.filter((one) => !list.querySelector(`[data-id="${CSS.escape(one.id)}"]`));
  if (fresh.length === 0) return;
  find("talk-none").hidden = true;
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.append(...fresh.map(commentLine));
  while (list.children.length > COMMENTS_KEPT) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
  onStage(fresh.slice(-ON_STAGE));
  if (side.dataset.now !== "talk") {
    unread += fresh.length;
    find("unread").textContent = unread > 99 ? "99+" : String(unread);
    find("unread").hidden = false;
  }
}

function onStage(comments) {
  const stage = find("stage-talk");
  stage.append(...comments.map(commentLine));
  while (stage.children.length > ON_STAGE) stage.firstElementChild.remove();
}

function restartComments(comments) {
  list.replaceChildren();
  find("stage-talk").replaceChildren();
  addComments(comments);
  unread = 0;
  find("unread").hidden = true;
}

document.addEventListener("click", (event) => {
  const part = event.target.closest("[data-part]");
  if (!part) return;
  side.dataset.now = part.dataset.part;
  for (const button of document.querySelectorAll(".switch [data-part]")) {
    button.setAttribute("aria-pressed", String(button.dataset.part === side.dataset.now));
  }
  if (side.dataset.now === "talk") {
    unread = 0;
    find("unread").hidden = true;
    list.scrollTop = list.scrollHeight;
    if (part.classList.contains("buybar-talk")) find("talk-text")?.focus();
  }
});

const talk = find("talk-form");

/** A name that is known folds away into a button with its first letter. */
function foldName(name) {
  const who = find("talk-who");
  who.hidden = !name;
  talk.elements.name.hidden = Boolean(name);
  who.textContent = name ? Array.from(name)[0].toUpperCase() : "";
}

if (talk) {
  try {
    talk.elements.name.value = localStorage.getItem("talk-name") || "";
  } catch { /* asked each time */ }
  foldName(talk.elements.name.value);
  find("talk-who").addEventListener("click", () => {
    foldName("");
    talk.elements.name.focus();
  });
  talk.addEventListener("submit", async (event) => {
    event.preventDefault();
    const send = find("talk-send");
    const body = { name: talk.elements.name.value.trim(), text: talk.elements.text.value.trim() };
    if (!body.name || !body.text || send.disabled) return;
    send.disabled = true;
    try {
      const answer = await fetch(`/api/v1/live-sessions/${data.code}/comments`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      if (answer.ok) {
        talk.elements.text.value = "";
        foldName(body.name);
        toast(words.sent);
        try {
          localStorage.setItem("talk-name", body.name);
        } catch { /* asked each time */ }
      } else {
        const told = await answer.json().catch(() => ({}));
        toast(told.errors?.map((one) => one.message).join(" ") || told.detail || words.try_again, "bad");
      }
    } catch {
      toast(words.try_again, "bad"); // what was typed stays in the field
    }
    send.disabled = false;
  });
}

// ---- the state of the session and of the line

let state = data.state;

function setState(next) {
  if (!next || next === state) return;
  document.body.classList.replace(`state-${state}`, `state-${next}`);
  find("badge-live").hidden = next !== "live";
  if (find("badge-soon")) find("badge-soon").hidden = true;
  find("badge-over").hidden = next === "live" || next === "scheduled";
  if (next === "live") toast(words.started);
  else {
    if (basket.sheet?.open) basket.sheet.close();
    toast(words.over);
  }
  state = next;
}

// ---- the picture

find("play").addEventListener("click", (event) => (event.currentTarget.dataset.wanted = "1"));
const stage = import("./stage.js").then(({ mountStage }) => mountStage({ url: data.playback_url, live: data.state === "live", words }));

// ---- watching again: what was shown, and what it cost, at the moment that is on the screen

if (data.replay) {
  const { chapters, deals } = data.replay;
  let shown = "";
  const at = (moment) => (one) => one.from_ms <= moment && moment < one.to_ms;
  stage.then((it) => (it.onMoment = (moment) => {
    const chapter = chapters.findLast(at(moment));
    const deal = chapter && deals.findLast((one) => one.code === chapter.code && at(moment)(one));
    const now = `${chapter?.id || ""} ${deal?.price || ""}`;
    if (now === shown) return;
    shown = now;
    drawThen(chapter, deal);
  }));
  find("chapters")?.addEventListener("click", (event) => {
    const button = event.target.closest("[data-moment]");
    if (button) stage.then((it) => it.seek(Number(button.dataset.moment)));
  });
}

function drawThen(chapter, deal) {
  const line = find("stage-then");
  line.hidden = !chapter;
  line.replaceChildren();
  for (const button of find("chapters")?.children || []) {
    if (chapter && Number(button.dataset.moment) === chapter.from_ms) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  setPinned(chapter ? { code: chapter.code } : null);
  if (!chapter) return;
  const code = document.createElement("b");
  code.textContent = chapter.code;
  const said = [`${chapter.product}${chapter.grade ? ` ${chapter.grade}` : ""}`];
  if (chapter.price) said.push(words.then.replace("{price}", `${formatMoney(chapter.price)}/${words.units[chapter.unit]}`));
  if (deal) said.push(words.deal_then.replace("{price}", formatMoney(deal.price)));
  line.append(code, ` ${said.join(" · ")}`);
}

function lookForPicture() {
  if (state !== "live" || data.playback_url) return;
  // Everybody hears of it at once; nobody needs it in the same second.
  setTimeout(async () => {
    const told = await fetch(`/api/v1/live-sessions/${data.code}`).then((answer) => answer.json()).catch(() => ({}));
    if (!told.playback_url) return;
    const found = new URL(told.playback_url, location.href);
    data.playback_url = found.origin === location.origin ? found.pathname : found.href; // a CDN keeps its name
    stage.then((it) => it.found(data.playback_url));
  }, Math.random() * 3000);
}

function setNotice(text) {
  find("notice-text").textContent = text;
  find("notice").hidden = !text;
}

function setLine(text) {
  const badge = find("line-state");
  badge.hidden = !text;
  badge.textContent = text;
}

// ---- frames

const on = {
  snapshot(frame) {
    setCounts(frame);
    setDeals(frame.deals);
    setStock(frame.stock);
    setPinned(frame.pinned);
    restartComments(frame.comments);
    setNotice(frame.notice);
    setState(frame.state);
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
  state(frame) {
    setState(frame.state);
    lookForPicture();
  },
  notice: (frame) => setNotice(frame.text),
};

setDeals(data.snapshot.deals);
setPinned(data.snapshot.pinned);
onStage(data.snapshot.comments.slice(-ON_STAGE));
list.scrollTop = list.scrollHeight;

if (data.live_url) {
  connectLive({
    url: data.live_url,
    refreshUrl: `/api/v1/live-sessions/${data.code}/ticket`,
    onFrame: (frame) => on[frame.type]?.(frame),
    onStatus: (status) => setLine(status === "open" || status === "ended" ? "" : words.reconnecting),
  });
}

// ---- what the address asks for: a basket again, a moment of the replay

const asked = new URLSearchParams(location.search);
if (asked.get("again") && basket.sheet) {
  for (const part of asked.get("again").split(",")) {
    const [code, quantity] = part.split(".");
    if (offers.has(code)) basket.set(code, Number.parseInt(quantity, 10) || 0);
  }
  if (basket.lines.size > 0 && !find("buybar").hidden) basket.open();
}
if (asked.get("at") && data.replay) stage.then((it) => it.seek(Number(asked.get("at"))));

// Counting what was seen, tapped and put into the basket: by code, never by person. Losing some does no harm.

import { pageData } from "./page.js";

const EVERY_MS = 5000;
const MOST = 100; // events a request may hold

const here = pageData("session-data").code;
const waiting = new Map(); // session -> events

/** `kind`: "impression", "click" or "basket"; `product`: a short code of the line-up, none for the session itself. */
export function tell(kind, product, session = here) {
  if (!waiting.has(session)) waiting.set(session, []);
  waiting.get(session).push({ kind, product, at: Date.now() });
}

function send() {
  for (const [session, events] of waiting) {
    const body = JSON.stringify(events.splice(0, MOST));
    if (events.length === 0) waiting.delete(session);
    fetch(`/api/v1/live-sessions/${encodeURIComponent(session)}/events?sent=${Date.now()}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
      keepalive: true, // also while the page goes away
    }).catch(() => {});
  }
}

setInterval(send, EVERY_MS);
addEventListener("pagehide", send);

/** Calls `seen` with each node of which half was on the screen for a second, once. Answers who watches a node. */
function watch(seen) {
  if (!("IntersectionObserver" in window)) return () => {};
  const timers = new Map();
  const eye = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      clearTimeout(timers.get(target));
      if (!isIntersecting) continue;
      timers.set(target, setTimeout(() => {
        eye.unobserve(target);
        seen(target);
      }, 1000));
    }
  }, { threshold: 0.5 });
  return (node) => eye.observe(node);
}

/** Rows of goods, each with data-code. */
export function countViews(rows) {
  rows.forEach(watch((row) => tell("impression", row.dataset.code)));
}

/** Whatever shows a session on other pages: cards, banners, lists, each with data-session; also those that come later. */
export function countSessions(page) {
  const told = new Set();
  const observe = watch(({ dataset: { session } }) => {
    if (!told.has(session)) tell("impression", "", session);
    told.add(session);
  });
  const look = (node) => node.querySelectorAll("[data-session]").forEach(observe);
  look(page);
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) addedNodes.forEach((node) => { if (node.querySelectorAll) look(node); });
  }).observe(page, { childList: true, subtree: true });
}

/** A tap on a row, or on the head of a product (then its first row). */
export function countTaps(list) {
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".offer") || event.target.closest(".good")?.querySelector(".offer");
    if (row && event.target.closest("a, button, summary")) tell("click", row.dataset.code);
  });
}

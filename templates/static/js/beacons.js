// Counting what was seen, tapped and put into the basket: by code, never by person. Losing some does no harm.

import { pageData } from "./page.js";

const EVERY_MS = 5000;
const MOST = 100; // events a request may hold

const { code } = pageData("session-data");
let waiting = [];

/** `kind`: "impression", "click" or "basket"; `product`: a short code of the line-up. */
export function tell(kind, product) {
  waiting.push({ kind, product, at: Date.now() });
}

function send() {
  if (waiting.length === 0) return;
  const body = JSON.stringify(waiting.slice(0, MOST));
  waiting = waiting.slice(MOST);
  fetch(`/api/v1/live-sessions/${code}/events`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body,
    keepalive: true, // also while the page goes away
  }).catch(() => {});
}

setInterval(send, EVERY_MS);
addEventListener("pagehide", send);

/** Rows with data-code count as seen once half of one was on the screen for a second. */
export function countViews(rows) {
  if (!("IntersectionObserver" in window)) return;
  const timers = new Map();
  const eye = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      clearTimeout(timers.get(target));
      if (!isIntersecting) continue;
      timers.set(target, setTimeout(() => {
        eye.unobserve(target);
        tell("impression", target.dataset.code);
      }, 1000));
    }
  }, { threshold: 0.5 });
  rows.forEach((row) => eye.observe(row));
}

/** A tap on a row, or on the head of a product (then its first row). */
export function countTaps(list) {
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".offer") || event.target.closest(".good")?.querySelector(".offer");
    if (row && event.target.closest("a, button, summary")) tell("click", row.dataset.code);
  });
}

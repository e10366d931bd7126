// An order's page follows the order: the part that changes is fetched again while the page is looked at.

import { refreshClocks } from "./page.js";

const SOON_MS = 2500; // while money is awaited
const LATER_MS = 15_000;
const MOST_MS = 60_000;

const now = document.getElementById("now");
let failures = 0;
let timer = 0;

function pause() {
  const base = now.querySelector(".pay") || now.dataset.card ? SOON_MS : LATER_MS;
  return Math.min(MOST_MS, base * 2 ** failures);
}

async function look() {
  clearTimeout(timer);
  if (document.visibilityState === "visible") {
    const query = new URLSearchParams({ key: now.dataset.key, seen: now.dataset.seen, paid: now.dataset.card });
    try {
      const answer = await fetch(`${now.dataset.from}?${query}`);
      failures = answer.ok ? 0 : failures + 1;
      if (answer.status === 200) show(await answer.text());
    } catch {
      failures += 1; // no network: asked again, less and less often
    }
  }
  timer = setTimeout(look, pause());
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").body;
  const head = fresh.querySelector("[data-version]");
  now.dataset.seen = head.dataset.version;
  now.dataset.card = head.dataset.card;
  now.replaceChildren(...fresh.childNodes);
  for (const part of document.querySelectorAll("[data-only-state]")) {
    part.hidden = !part.dataset.onlyState.split(" ").includes(head.dataset.state);
  }
  document.getElementById("now-said").textContent = head.dataset.said;
  document.getElementById("now-paid").textContent = head.dataset.paid;
  refreshClocks();
}

document.addEventListener("visibilitychange", look);
now.addEventListener("clock:end", () => setTimeout(look, 1000));
timer = setTimeout(look, pause());

// Following communes and waiting for sessions, without an account: the lists are kept on this device. The market
// learns of them only together with the device's push subscription, and gets the whole of both each time, so
// that a tap that is sent twice or late does no harm.

import { toast } from "./page.js";

const KEY = "following";
const AGAIN_MS = 24 * 3600 * 1000; // subscriptions change silently; once a day the lists are sent anew
const words = JSON.parse(document.getElementById("following-words").textContent);

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY)) || {};
    return { communes: kept.communes || [], sessions: kept.sessions || [], endpoint: kept.endpoint, at: kept.at || 0 };
  } catch {
    return { communes: [], sessions: [], at: 0 };
  }
}

function write(kept) {
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch { /* private window: for this page only */ }
}

let state = read();

const listOf = (button) => (button.dataset.follow ? "communes" : "sessions");
const codeOf = (button) => button.dataset.follow || button.dataset.remind;

export function draw(root = document) {
  for (const button of root.querySelectorAll("[data-follow], [data-remind]")) {
    button.setAttribute("aria-pressed", String(state[listOf(button)].includes(codeOf(button))));
  }
}

// ---- the push subscription

const able = "serviceWorker" in navigator && "PushManager" in window && "Notification" in window && isSecureContext;

function bytes(text) {
  const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function same(one, other) {
  const a = new Uint8Array(one || []);
  return a.length === other.length && a.every((byte, index) => byte === other[index]);
}

/** A subscription made with the market's key of today, or null when the person or the browser says no. */
async function subscription() {
  if (!able || Notification.permission !== "granted") return null;
  const registration = await navigator.serviceWorker.ready;
  const { key } = await fetch("/api/v1/push-key").then((answer) => answer.json());
  const ours = bytes(key);
  let found = await registration.pushManager.getSubscription();
  if (found && !same(found.options.applicationServerKey, ours)) {
    await found.unsubscribe();
    found = null;
  }
  return found || registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: ours });
}

async function send() {
  const found = await subscription().catch(() => null);
  if (!found) return false;
  const answer = await fetch("/api/v1/following", {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ subscription: found.toJSON(), communes: state.communes, sessions: state.sessions }),
  });
  if (!answer.ok) return false;
  const held = await answer.json();
  state = { ...held, endpoint: found.endpoint, at: Date.now() };
  write(state);
  draw();
  return true;
}

let line = Promise.resolve(true); // one sending after the other: the last tap is the one that holds

function sendSoon() {
  line = line.then(send, send).catch(() => false);
  return line;
}

// ---- taps

async function tapped(button) {
  const list = listOf(button);
  const code = codeOf(button);
  const on = !state[list].includes(code);
  state[list] = on ? [...state[list], code] : state[list].filter((one) => one !== code);
  write(state);
  draw();
  document.dispatchEvent(new CustomEvent("following:changed"));
  if (on && able && Notification.permission === "default") await Notification.requestPermission();
  const told = await sendSoon();
  if (!on) return toast(words.off);
  if (told) return toast(list === "communes" ? words.communes : words.sessions);
  if (list === "communes") return toast(words.here);
  toast(words.calendar);
  location.assign(`/live/${code}/calendar.ics`); // the phone's calendar reminds instead
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-follow], [data-remind]");
  if (button) tapped(button);
});

draw();
const kept = state.communes.length + state.sessions.length > 0;
if (kept && state.endpoint && Date.now() - state.at > AGAIN_MS) sendSoon();

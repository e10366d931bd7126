// The service worker: our own static files and the page for "no network". Nothing else is ever kept:
// pages, orders and answers of the API always come from the market itself. It also shows what the market
// pushes to this device.

const FILES = "files-1";
const SHELTER = "offline-1"; // the page for "no network" with all that it shows
const OFFLINE = "/offline";
const MOST = 120; // files kept; the fingerprint in an address changes with every release, so old ones must go
const KEPT = /^\/static\/[0-9a-f]{12}\//;

self.addEventListener("install", (event) => {
  event.waitUntil(shelter());
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches.keys()
      .then((names) => names.filter((name) => name !== FILES && name !== SHELTER))
      .then((old) => Promise.all(old.map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

async function shelter() {
  const page = await fetch(OFFLINE, { cache: "reload" });
  const text = await page.clone().text();
  const shown = new Set(text.match(/\/static\/[0-9a-f]{12}\/[\w./-]+/g) || []);
  await caches.delete(SHELTER);
  const shelf = await caches.open(SHELTER);
  await shelf.addAll(shown);
  await shelf.put(OFFLINE, page);
}

/** A file whose address carries the fingerprint of the release never changes: the kept one is right. */
async function kept(request) {
  const found = await caches.match(request);
  if (found) return found;
  const answer = await fetch(request);
  if (answer.ok) {
    const shelf = await caches.open(FILES);
    await shelf.put(request, answer.clone());
    const all = await shelf.keys();
    await Promise.all(all.slice(0, Math.max(0, all.length - MOST)).map((one) => shelf.delete(one)));
  }
  return answer;
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (KEPT.test(url.pathname)) {
    event.respondWith(kept(request));
  } else if (request.mode === "navigate") {
    event.respondWith(fetch(request).catch(async () => (await caches.match(OFFLINE)) || Response.error()));
  }
});

// ---- what is pushed: {title, body, url, tag}

self.addEventListener("push", (event) => {
  const told = event.data?.json();
  if (!told) return;
  event.waitUntil(
    self.registration.showNotification(told.title, {
      body: told.body,
      tag: told.tag,
      renotify: true,
      icon: "/static/icons/icon-192.png",
      badge: "/static/icons/icon-192.png",
      data: { url: told.url },
    }),
  );
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const url = new URL(event.notification.data.url, self.location.origin);
  event.waitUntil(
    self.clients.matchAll({ type: "window" }).then((open) => {
      const there = open.find((one) => new URL(one.url).pathname === url.pathname);
      return there ? there.focus() : self.clients.openWindow(url.href);
    }),
  );
});

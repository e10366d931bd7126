// The service worker: our own static files and the page for "no network". Nothing else is ever kept:
// pages, orders and answers of the API always come from the market itself.

const SHELF = "static-1";
const OFFLINE = "/offline";
const MOST = 120; // files kept; the fingerprint in an address changes with every release, so old ones must go
const KEPT = /^\/static\/[0-9a-f]{12}\//;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELF).then((shelf) => shelf.add(new Request(OFFLINE, { cache: "reload" }))));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches.keys()
      .then((names) => Promise.all(names.filter((name) => name !== SHELF).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

/** A file whose address carries the fingerprint of the release never changes: the kept one is right. */
async function fromShelf(request) {
  const shelf = await caches.open(SHELF);
  const kept = await shelf.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) {
    await shelf.put(request, answer.clone());
    const all = await shelf.keys();
    const files = all.filter((one) => new URL(one.url).pathname !== OFFLINE);
    await Promise.all(files.slice(0, Math.max(0, files.length - MOST)).map((one) => shelf.delete(one)));
  }
  return answer;
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (KEPT.test(url.pathname)) {
    event.respondWith(fromShelf(request));
  } else if (request.mode === "navigate") {
    event.respondWith(fetch(request).catch(async () => (await caches.match(OFFLINE)) || Response.error()));
  }
});

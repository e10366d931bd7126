// The socket of a live session: keeps a page supplied with frames for as long as the session lasts.
//
//   const live = connectLive({ url, refreshUrl, onFrame, onStatus });
//   live.close();
//
// url         ws(s)://…/live/{code}?ticket=…
// refreshUrl  answers JSON with a `live_url` that has a fresh ticket, or with a `state` that is over
// onFrame     is given every frame once and in order (type, seq, sent_ms, …); first a `snapshot`. A frame that
//             is not newer than what the page has is left out; `resync` is kept here, a snapshot follows it
// onStatus    "open"     frames come
//             "waiting"  they do not: what the page shows may be old; we are trying again
//             "ended"    the session is over; no more attempts
//             "refused"  the ticket is not good and no fresh one is given, or there is no such session
//
// Nothing a frame holds is markup: put it on the page as text only.

const SILENCE_MS = 12_000; // the server says something at least every five seconds
const FIRST_TRY_MS = 500;
const LONGEST_MS = 30_000;
const REFUSALS = 5; // in a row, then it is not a matter of patience

const SPREAD_MS = { 1012: 4_000, 4429: 30_000 }; // restart of a gateway; too many sockets
const BAD_TICKET = 4401;
const NO_SESSION = 4404;
const ENDED = 4410;

export function connectLive({ url, refreshUrl = "", onFrame = () => {}, onStatus = () => {} }) {
  let socket = null;
  let status = "";
  let seq = 0; // of the newest frame given to the page
  let heardAt = 0;
  let failures = 0;
  let refusals = 0;
  let retry = 0;
  let over = false;

  function say(next) {
    if (next === status) return;
    status = next;
    onStatus(next);
  }

  function open() {
    clearTimeout(retry);
    if (over) return;
    drop();
    heardAt = Date.now();
    const mine = new WebSocket(url);
    socket = mine;
    mine.onmessage = (event) => {
      if (mine === socket) heard(event.data);
    };
    mine.onclose = (event) => {
      if (mine === socket) closed(event.code);
    };
  }

  // Forget the socket we have: whatever it still says is not ours any more.
  function drop() {
    const old = socket;
    socket = null;
    old?.close();
  }

  function heard(text) {
    heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // a proxy's greeting, not ours
    }
    if (frame.type === "resync") return;
    if (frame.type === "snapshot") {
      failures = refusals = 0;
    } else if (frame.seq <= seq) {
      return;
    }
    seq = frame.seq;
    say("open");
    onFrame(frame);
  }

  function closed(code) {
    socket = null;
    if (code === ENDED) return finish("ended");
    say("waiting");
    if (code === BAD_TICKET || code === NO_SESSION) return refresh();
    failures += 1;
    later(SPREAD_MS[code] ?? 0);
  }

  function finish(how) {
    over = true;
    clearTimeout(retry);
    clearInterval(watch);
    drop();
    say(how);
  }

  // Full jitter: thousands of pages lose their socket in the same moment.
  function later(atLeastSpread) {
    const spread = Math.max(atLeastSpread, Math.min(LONGEST_MS, FIRST_TRY_MS * 2 ** failures));
    clearTimeout(retry);
    retry = setTimeout(open, 200 + Math.random() * spread);
  }

  async function refresh() {
    refusals += 1;
    if (!refreshUrl || refusals > REFUSALS) return finish("refused");
    let fresh = null;
    try {
      const answer = await fetch(refreshUrl, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (answer.status === 404 || answer.status === 403 || answer.status === 401) return finish("refused");
      if (answer.ok) fresh = await answer.json();
    } catch {
      fresh = null; // no network: try again later
    }
    if (over) return undefined;
    if (fresh && !fresh.live_url) return finish("ended");
    if (fresh) url = fresh.live_url;
    failures += 1;
    return later(0);
  }

  // Browsers do not notice a dead socket; a sleeping phone wakes up with one.
  function look() {
    if (!socket || Date.now() - heardAt <= SILENCE_MS) return;
    say("waiting");
    failures += 1;
    drop();
    later(0);
  }

  function wake() {
    if (over || document.visibilityState === "hidden") return;
    if (!socket) {
      failures = Math.min(failures, 1);
      later(0);
    } else look();
  }

  const watch = setInterval(look, 1_000);
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", wake);
  open();

  return {
    close() {
      over = true;
      clearTimeout(retry);
      clearInterval(watch);
      document.removeEventListener("visibilitychange", wake);
      window.removeEventListener("online", wake);
      window.removeEventListener("pageshow", wake);
      drop();
    },
  };
}

// The host's camera on the console: one button to be seen, what the line does in a sentence, flip and mute; before
// the session the same camera as a check of this phone. broadcast.js does the work; this is its face.

import { createBroadcast } from "./broadcast.js";
import { formatNumber, pageData, toast } from "./page.js";

const data = pageData("console-data");
const words = data.words.camera;
const find = (id) => document.getElementById(id);
const panel = find("camera");
const LOUD_ENOUGH = 0.45; // of the meter: speech near the phone

async function ask(what) {
  const answer = await fetch(`/api/v1/live-sessions/${data.code}/${what}`, { method: "POST" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

// A page that is loaded anew while it is on air goes on by itself; so does the tap that began the session.
const onAir = {
  get: () => kept((store) => store.getItem("on-air") === data.code),
  set: () => kept((store) => store.setItem("on-air", data.code)),
  clear: () => kept((store) => store.removeItem("on-air")),
};
function kept(act) {
  try {
    return act(sessionStorage);
  } catch {
    return false;
  }
}

if (panel) {
  const live = data.state === "live";
  const cast = createBroadcast({
    address: () => ask("ingest"),
    measureAddress: () => ask("measure"),
    preview: find("camera-preview"),
    words: data.words.broadcast,
    onChange: draw,
  });
  globalThis.cast = cast; // for measurements

  let heard = false;

  function draw(state) {
    panel.dataset.phase = state.phase;
    const sending = state.phase === "on" || state.phase === "waiting";
    const taken = state.phase === "occupied" || state.problem?.code === "replaced";
    find("camera-view").hidden = state.phase === "off";
    find("camera-badge").textContent = state.muted && sending ? words.muted : words[state.phase] || "";
    find("camera-state").textContent = state.problem?.text || "";
    find("camera-state").classList.toggle("asks", taken);
    find("camera-level").value = state.muted ? 0 : state.level || 0;
    find("camera-line").hidden = !sending;
    find("camera-line").textContent = `${lines(state.size)} · ${rate(state.kbit)}`;
    const mute = find("camera-mute");
    mute.setAttribute("aria-pressed", String(Boolean(state.muted)));
    mute.setAttribute("aria-label", state.muted ? words.unmute : words.mute);
    const go = find("camera-go");
    go.hidden = sending;
    go.classList.toggle("btn-main", live || taken);
    find("camera-go-label").textContent = taken ? words.take : live ? words.go : state.phase === "off" ? words.check : words.again;
    find("camera-stop").hidden = !sending && live;
    if (sending) onAir.set();
    else if (state.phase === "over" || state.phase === "occupied") onAir.clear();
    if (!live) check(state);
  }

  // ---- before the session: camera, microphone, line, each with its tick

  function check(state) {
    const list = find("camera-checks");
    if (!list || state.phase === "off") return;
    list.hidden = false;
    heard ||= state.level > LOUD_ENOUGH;
    tick("camera", Boolean(state.size), state.size ? lines(state.size) : "");
    tick("mic", heard, heard ? words.hears : words.speak);
    if (!state.uplink) tick("line", null, words.checking);
    else if (state.uplink > 2000) tick("line", true, words.fast.replace("{size}", "720p"));
    else if (state.uplink > 900) tick("line", true, words.fair.replace("{size}", "360p"));
    else tick("line", false, words.weak);
  }

  function tick(name, good, said) {
    const line = panel.querySelector(`[data-check="${name}"]`);
    const mark = line.querySelector(".tick");
    mark.classList.toggle("tick-ok", good === true);
    mark.classList.toggle("tick-no", good === false);
    line.querySelector("[data-said]").textContent = said;
  }

  // ---- taps

  async function go() {
    const button = find("camera-go");
    const taken = cast.state.phase === "occupied" || cast.state.problem?.code === "replaced";
    button.disabled = true;
    try {
      if (!live || cast.state.phase === "off") await cast.prepare();
      if (live) await cast.start({ take: taken });
      else await cast.measure();
    } catch (error) {
      if (error?.message) toast(error.message, "bad");
    }
    button.disabled = false;
  }

  find("camera-go").addEventListener("click", go);
  find("camera-stop").addEventListener("click", () => {
    onAir.clear();
    cast.off();
  });
  find("camera-flip").addEventListener("click", () => cast.flip());
  find("camera-mute").addEventListener("click", (event) => cast.mute(event.currentTarget.getAttribute("aria-pressed") !== "true"));
  // One tap is enough: the session begins and its camera with it, unless something else is to send.
  find("go-live")?.form.addEventListener("submit", () => {
    if (!data.other_camera) onAir.set();
  });
  if (live && onAir.get()) go();
}

/** "1280x720" -> "720p": what people know from other places. */
function lines(size) {
  const [width, height] = size.split("x").map(Number);
  return width ? `${Math.min(width, height)}p` : "";
}

function rate(kbit) {
  return kbit >= 1000 ? `${formatNumber(Math.round(kbit / 100) / 10)} Mbit/s` : `${kbit} kbit/s`;
}

// The host's camera on the console: one button to be seen, what the line does in a sentence, flip and mute.
// broadcast.js does the work; this is its face.

import { createBroadcast } from "./broadcast.js";
import { pageData, toast } from "./page.js";

const data = pageData("console-data");
const find = (id) => document.getElementById(id);
const panel = find("camera");

async function ask(what) {
  const answer = await fetch(`/api/v1/live-sessions/${data.code}/${what}`, { method: "POST" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}
const address = () => ask("ingest");
const measureAddress = () => ask("measure");

if (panel) {
  const cast = createBroadcast({ address, measureAddress, preview: find("camera-preview"), words: {}, onChange: tell });

  function tell(state) {
    panel.dataset.phase = state.phase;
    find("camera-state").textContent = state.problem?.text || data.words.camera[state.phase] || "";
    find("camera-state").classList.toggle("fault", Boolean(state.problem));
    find("camera-level").value = state.level || 0;
    find("camera-line").textContent = state.phase === "on" || state.phase === "waiting" ? `${state.size} · ${Math.round(state.kbit)} kbit/s` : "";
    find("camera-mute").setAttribute("aria-pressed", String(Boolean(state.muted)));
    const on = state.phase === "on" || state.phase === "waiting";
    find("camera-go").hidden = on;
    for (const id of ["camera-stop", "camera-flip", "camera-mute"]) find(id).hidden = !on;
  }

  find("camera-go").addEventListener("click", async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    try {
      find("camera-preview").hidden = false;
      await cast.prepare();
      await cast.start();
    } catch (error) {
      if (error?.message) toast(error.message, "bad");
    }
    button.disabled = false;
  });
  find("camera-stop").addEventListener("click", () => cast.stop());
  find("camera-flip").addEventListener("click", () => cast.flip());
  find("camera-mute").addEventListener("click", (event) => cast.mute(event.currentTarget.getAttribute("aria-pressed") !== "true"));
}

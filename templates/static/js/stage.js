// The picture on a session's page: the still until the viewer wants it, then player.js with plain controls.
//
//   const stage = mountStage({ url, live, words });   url: the playlist, or null while there is no picture yet
//   stage.found(url)                                   a picture has come
//   stage.seek(moment)                                 a replay: plays from a moment in Unix milliseconds
//   stage.onMoment = (moment) => …                     a replay: about four times a second
//
// The player and hls.js are fetched only when somebody presses play or the session's picture starts by itself.

const find = (id) => document.getElementById(id);

export function mountStage({ url, live, words }) {
  const video = find("video");
  const play = find("play");
  const bar = find("stage-bar");
  let player = null;

  function show() {
    play.hidden = !url || player !== null;
  }

  async function start() {
    if (player || !url) return;
    const { attachPlayer } = await import("./player.js");
    const base = url.slice(0, url.lastIndexOf("/") + 1);
    video.hidden = false;
    video.removeAttribute("src");
    player = attachPlayer({ video, base, live, words: words.player, onChange: tell });
    if (!live) video.controls = true;
    show();
    bar.hidden = false;
    await player.play();
  }

  function tell(state) {
    find("sound").hidden = !state.muted;
    find("pip").hidden = !state.canPip;
    find("saver").setAttribute("aria-pressed", String(state.saving));
    const note = find("stage-note");
    note.hidden = !state.note || state.note.code === "muted";
    note.textContent = state.note?.text || "";
    find("data-use").textContent = state.megabytes_hour ? words.per_hour.replace("{n}", Math.round(state.megabytes_hour)) : "";
  }

  play.addEventListener("click", start);
  if (play.dataset.wanted) start(); // pressed before this file had come
  find("sound").addEventListener("click", () => player?.unmute());
  find("pip").addEventListener("click", () => player?.pictureInPicture());
  find("saver").addEventListener("click", (event) => {
    player?.saveData(event.currentTarget.getAttribute("aria-pressed") !== "true");
  });
  // By itself only where data is not scarce, and only once the page can be used: the player is the heavy part.
  function startByItself() {
    if (!live || !url || navigator.connection?.saveData) return;
    if (document.readyState === "complete") setTimeout(start, 300);
    else addEventListener("load", () => setTimeout(start, 300), { once: true });
  }

  show();
  startByItself();

  const stage = {
    onMoment: () => {},
    async seek(moment) {
      wantedMoment = moment;
      if (!player) await start();
      seekThere();
    },
    found(next) {
      if (!next || url === next) return;
      url = next;
      show();
      startByItself();
    },
  };

  let wantedMoment = 0;

  // The list of pieces may still be on its way when the first tap comes.
  function seekThere() {
    if (!wantedMoment || !player?.moment()) return;
    player.seek(wantedMoment);
    wantedMoment = 0;
    video.play().catch(() => {});
  }

  if (!live) {
    for (const event of ["timeupdate", "seeked", "loadedmetadata", "durationchange"]) {
      video.addEventListener(event, () => {
        seekThere();
        const moment = player?.moment();
        if (moment) stage.onMoment(moment);
      });
    }
  }
  return stage;
}

// Watching a session: live with low latency or plain, by the viewer's line; replay; sound alone when nothing else fits.
//
//   const player = attachPlayer({ video, base, live, words, onChange });
//   player.play()                      starts, muted when the browser insists
//   player.unmute()  player.saveData(true)  player.soundOnly(true)  player.pictureInPicture()
//   player.seek(moment)                a replay: to a moment in Unix milliseconds
//   player.moment()                    the moment that is shown now, in Unix milliseconds; 0: not known yet
//   player.close()
//
// video      the <video>
// base       address of the session's media, ending in "/": index.m3u8 and ll.m3u8 are below it
// live       true on air, false for a replay
// onChange   gets the state whenever it changes:
//   phase      "idle", "loading", "playing", "waiting" (nothing comes just now), "paused", "ended"
//   note       null or { code, text }: "waiting", "sound_only", "saving", "saving_sound", "muted", "failed"
//   saving     does the viewer want to spend little data?
//   muted      boolean        kind    "ll", "plain", "audio", "native"
//   latency    seconds behind the newest picture, live only        megabytes_hour   at the present rate
//   canPip     can the picture be put into a window of its own?
//
// The kind is chosen by the line and corrected by what happens: low latency where a round trip is short, plain
// where it stalls, sound alone where not even the smallest picture comes through; and back when it does again.

const LL_ROUND_TRIP_MS = 150; // low-latency parts come one by one: each costs a round trip
const LL_MBITS = 1.4;
const STALLS_FOR_PLAIN = 2; // within WINDOW_MS
const WINDOW_MS = 40_000;
const STALL_MS = 600; // shorter ones nobody sees
const THIN_S = 15; // of so many seconds ...
const THIN_BUSY_S = 12; // ... our line was busy in these, at least,
const THIN_PLAYED_S = 9; // and less than these were seen: it does not carry the picture
const TRY_PICTURE_MS = 45_000; // then the picture is tried again; where that was in vain, after twice as long
const TRY_PICTURE_MOST_MS = 600_000;
const HOLDS_MS = 60_000; // a picture that lasted so long was not in vain
const RETRY_MS = [500, 1000, 2000, 4000];
const FAR_BEHIND_S = 20; // then to the edge with a leap, not by playing faster
const BEHIND_S = 1.5; // behind where we mean to be
const FASTER = 1.08;

export const WORDS = {
  waiting: "Đường truyền của người bán đang gián đoạn. Hình sẽ tự chạy lại.",
  sound_only: "Mạng yếu nên chỉ phát tiếng. Hình sẽ trở lại khi mạng khá hơn.",
  saving: "Đang tiết kiệm dữ liệu.",
  saving_sound: "Đang tiết kiệm dữ liệu: chỉ phát tiếng.",
  muted: "Bấm để bật tiếng",
  failed: "Trình duyệt này không phát được hình. Hãy mở bằng Chrome hoặc Safari.",
};

export function attachPlayer({ video, base, live = true, words = {}, onChange = () => {} }) {
  const text = { ...WORDS, ...words };
  const state = { phase: "idle", note: null, saving: false, muted: true, kind: "", latency: 0, megabytes_hour: 0, canPip: canPip(video) };
  const stalls = [];
  let hls = null;
  let Hls = null;
  let wanted = false;
  let saving = remembered("data-saver") === "1" || Boolean(navigator.connection?.saveData);
  let soundWanted = false; // the viewer asked for sound alone
  let soundForced = false; // the line did
  let failures = 0;
  let retry = 0;
  let stalledAt = 0;
  let stalledBusy = false;
  let hurrying = false;
  let bytes = 0;
  let bytesSince = 0;
  let tryPicture = 0;
  let tryAfter = TRY_PICTURE_MS;
  let pictureSince = 0;
  let loading = false; // a piece is on its way
  let place = 0;
  const lately = []; // of each of the last THIN_S seconds: [seconds played, was the line busy?]
  let closed = false;

  function change(next) {
    Object.assign(state, next);
    onChange({ ...state });
  }
  const note = (code) => change({ note: code ? { code, text: text[code] } : null });
  function standing() {
    change({ saving });
    const code = soundForced ? "saving_sound" : "saving";
    note(saving ? code : soundForced ? "sound_only" : null);
  }

  // ---- what to fetch

  function kind() {
    if (soundWanted || soundForced) return "audio";
    if (!live) return "plain";
    return saving || !quickLine() || remembered("plain") ? "plain" : "ll";
  }

  function source(which) {
    if (which === "audio") return `${base}audio.m3u8`;
    return which === "ll" ? `${base}ll.m3u8` : `${base}index.m3u8`;
  }

  async function play() {
    wanted = true;
    if (state.phase === "idle") await load();
    try {
      await video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return;
      video.muted = true; // browsers let a page begin by itself only without sound
      await video.play().catch(() => change({ phase: "paused" }));
    }
    hear();
  }

  function hear() {
    change({ muted: video.muted || video.volume === 0 });
  }

  async function load() {
    clearTimeout(retry);
    change({ phase: "loading" });
    if (nativeIsBetter(video)) {
      video.src = source(kind());
      change({ kind: "native" });
      return;
    }
    Hls ||= (await import("../vendor/hls.js")).default;
    if (closed) return;
    if (!Hls.isSupported()) {
      note("failed");
      change({ phase: "ended" });
      return;
    }
    attach();
  }

  function attach() {
    const which = kind();
    const at = video.currentTime;
    lately.length = 0;
    loading = false;
    if (which !== "audio") pictureSince = Date.now();
    hls?.destroy();
    hls = new Hls(settings(which, live, saving));
    change({ kind: which });
    hls.on(Hls.Events.ERROR, (_, data) => failed(data));
    hls.on(Hls.Events.FRAG_LOADING, () => (loading = true));
    hls.on(Hls.Events.FRAG_LOADED, (_, data) => {
      loading = false;
      count((data.part || data.frag).stats.loaded);
    });
    hls.on(Hls.Events.LEVEL_UPDATED, () => (failures = 0));
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      if (saving && which !== "audio") {
        if (hls.levels.length < 2) return forceSound(); // there is no smaller picture
        hls.autoLevelCapping = smallest(hls.levels);
      }
      if (!live && at > 0) video.currentTime = at;
      if (wanted) video.play().catch(() => {});
    });
    hls.loadSource(source(which));
    hls.attachMedia(video);
    standing();
  }

  function reattach() {
    if (!hls) {
      if (state.kind === "native" && wanted) {
        video.src = source(kind());
        video.play().catch(() => {});
        standing();
      }
      return;
    }
    attach();
  }

  // ---- when it does not come

  function failed(data) {
    if (data.details === Hls.ErrorDetails.BUFFER_STALLED_ERROR) return stalled();
    if (!data.fatal) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && failures < 3) {
      failures += 1;
      hls.recoverMediaError();
      return;
    }
    if (data.response?.code === 410) return over();
    failures += 1;
    waiting();
    const wait = RETRY_MS[Math.min(failures - 1, RETRY_MS.length - 1)];
    clearTimeout(retry);
    retry = setTimeout(() => !closed && attach(), wait * (0.75 + Math.random() / 2));
  }

  function waiting() {
    if (state.phase === "ended") return;
    change({ phase: "waiting" });
    if (live && wanted) note("waiting");
  }

  function over() {
    clearTimeout(retry);
    hls?.destroy();
    hls = null;
    change({ phase: "ended", note: null });
  }

  // Did the picture stop because our line is too thin, or because nothing is sent? Only a thin line is busy then.
  function stalled() {
    if (stalledAt) return;
    stalledAt = performance.now();
    stalledBusy = loading;
    setTimeout(() => {
      if (stalledAt) waiting();
    }, 1500);
  }

  function resumed() {
    const length = stalledAt ? performance.now() - stalledAt : 0;
    stalledAt = 0;
    change({ phase: "playing" });
    if (state.note?.code === "waiting") standing();
    if (length < STALL_MS || !stalledBusy || !hls || !live) return;
    const now = Date.now();
    stalls.push(now);
    while (stalls[0] < now - WINDOW_MS) stalls.shift();
    if (state.kind === "ll" && stalls.length >= STALLS_FOR_PLAIN) {
      remember("plain", "1");
      stalls.length = 0;
      attach();
    }
  }

  // The picture stands although pieces of it are on their way all the time: our line is too thin for it. When the
  // host's line is, ours has nothing to do. Stalls do not tell: on a thin line the playlist comes late as well.
  function weighLine() {
    const played = Math.min(1, Math.max(0, video.currentTime - place));
    place = video.currentTime;
    if (!live || state.kind !== "plain") return;
    lately.push([played, loading]);
    if (lately.length < THIN_S) return;
    const busy = lately.filter(([, then]) => then).length;
    const seconds = lately.reduce((sum, [then]) => sum + then, 0);
    if (busy >= THIN_BUSY_S && seconds < THIN_PLAYED_S) forceSound();
    else lately.shift();
  }

  // A break of the host's line leaves us behind by as long as it lasted, and hls.js would leave it so.
  function catchUp() {
    const behind = live && state.kind !== "audio" ? hls.latency - (hls.targetLatency ?? hls.latency) : 0;
    const faster = behind > BEHIND_S && (hls.mainForwardBufferInfo?.len || 0) > 2;
    hls.config.maxLiveSyncPlaybackRate = faster ? 1 : FASTER; // at 1 it leaves the rate to us
    if (faster) video.playbackRate = FASTER;
    else if (hurrying) video.playbackRate = 1;
    hurrying = faster;
  }

  function forceSound() {
    if (Date.now() - pictureSince > HOLDS_MS) tryAfter = TRY_PICTURE_MS;
    soundForced = true;
    stalls.length = 0;
    attach();
    clearTimeout(tryPicture);
    tryPicture = setTimeout(() => {
      soundForced = false;
      if (wanted && !soundWanted && !saving) attach();
    }, tryAfter);
    tryAfter = Math.min(2 * tryAfter, TRY_PICTURE_MOST_MS);
  }

  // ---- figures

  function count(loaded) {
    const now = performance.now();
    bytes += loaded;
    bytesSince ||= now;
    if (now - bytesSince < 10_000) return;
    change({ megabytes_hour: Math.round((bytes / (now - bytesSince)) * 3.6) });
    bytes = 0;
    bytesSince = now;
  }

  const watching = setInterval(() => {
    if (!hls || video.paused) return;
    weighLine();
    catchUp();
    if (live && hls.latency > FAR_BEHIND_S && hls.liveSyncPosition) video.currentTime = hls.liveSyncPosition;
    if (live && hls.latency) change({ latency: Math.round(hls.latency * 10) / 10 });
  }, 1000);

  // ---- what the element says

  const listeners = {
    waiting: stalled,
    playing: resumed,
    timeupdate: () => stalledAt && video.readyState > 2 && resumed(),
    pause: () => state.phase === "playing" && change({ phase: "paused" }),
    ended: () => change({ phase: "ended", note: null }),
    volumechange: hear,
    error: () => state.kind === "native" && nativeFailed(),
  };
  for (const [name, listener] of Object.entries(listeners)) video.addEventListener(name, listener);

  function nativeFailed() {
    failures += 1;
    waiting();
    const wait = RETRY_MS[Math.min(failures - 1, RETRY_MS.length - 1)];
    retry = setTimeout(() => !closed && wanted && reattach(), wait);
  }

  // Back from another app: what was missed is not caught up with, it is skipped.
  function seen() {
    if (document.visibilityState !== "visible" || !live || !wanted) return;
    if (hls?.liveSyncPosition && hls.latency > 6) video.currentTime = hls.liveSyncPosition;
    if (video.paused && state.phase !== "ended") video.play().catch(() => {});
  }
  document.addEventListener("visibilitychange", seen);
  const online = () => (state.phase === "waiting" ? reattach() : undefined);
  addEventListener("online", online);

  return {
    state,
    play,
    pause() {
      wanted = false;
      video.pause();
    },
    unmute() {
      video.muted = false;
      if (video.volume === 0) video.volume = 1;
      hear();
    },
    saveData(on) {
      saving = on;
      soundForced = false;
      remember("data-saver", on ? "1" : "");
      reattach();
    },
    soundOnly(on) {
      soundWanted = on;
      soundForced = false;
      reattach();
    },
    seek(moment) {
      const begin = hls?.latestLevelDetails?.fragments?.[0];
      if (begin?.programDateTime) video.currentTime = placeOf(hls.latestLevelDetails.fragments, moment);
      else if (video.getStartDate) video.currentTime = (moment - video.getStartDate().getTime()) / 1000;
    },
    moment() {
      const pieces = hls?.latestLevelDetails?.fragments;
      if (pieces?.[0]?.programDateTime) return momentOf(pieces, video.currentTime);
      const begin = video.getStartDate?.().getTime();
      return begin ? begin + video.currentTime * 1000 : 0;
    },
    async pictureInPicture() {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else if (video.requestPictureInPicture) await video.requestPictureInPicture().catch(() => {});
      else video.webkitSetPresentationMode?.("picture-in-picture");
    },
    close() {
      closed = true;
      clearInterval(watching);
      clearTimeout(retry);
      clearTimeout(tryPicture);
      document.removeEventListener("visibilitychange", seen);
      removeEventListener("online", online);
      for (const [name, listener] of Object.entries(listeners)) video.removeEventListener(name, listener);
      hls?.destroy();
      hls = null;
    },
    /** For measurements: the hls.js instance. */
    get engine() {
      return hls;
    },
  };
}

function settings(which, live, saving) {
  const common = { enableWorker: true, capLevelToPlayerSize: true, fragLoadPolicy: patient(20_000), playlistLoadPolicy: patient(10_000) };
  if (!live) return { ...common, startPosition: 0, maxBufferLength: 30 };
  const edge = { ...common, backBufferLength: 20, startLevel: saving ? 0 : -1 };
  // A stall makes hls.js stay further behind for good, by a second; here two of them choose another kind instead.
  if (which === "ll") return { ...edge, lowLatencyMode: true, maxLiveSyncPlaybackRate: FASTER, liveSyncOnStallIncrease: 0.2 };
  return {
    ...edge,
    lowLatencyMode: false,
    liveSyncDurationCount: 2, // segments behind the edge; both, or hls.js keeps its own distance
    liveMaxLatencyDurationCount: 8,
    maxLiveSyncPlaybackRate: FASTER,
  };
}

function patient(ms) {
  const retry = { maxNumRetry: 4, retryDelayMs: 300, maxRetryDelayMs: 3000 };
  return { default: { maxTimeToFirstByteMs: ms, maxLoadTimeMs: 2 * ms, timeoutRetry: retry, errorRetry: retry } };
}

function smallest(levels) {
  let best = 0;
  levels.forEach((level, index) => {
    if (level.bitrate < levels[best].bitrate) best = index;
  });
  return best;
}

// Where in a replay a moment lies; sessions have holes, so each piece says its own time.
function placeOf(fragments, moment) {
  for (const piece of fragments) {
    if (piece.programDateTime + piece.duration * 1000 > moment) {
      return piece.start + Math.max(0, moment - piece.programDateTime) / 1000;
    }
  }
  return fragments.at(-1).start;
}

function momentOf(fragments, time) {
  const piece = fragments.findLast((one) => one.start <= time + 0.001) || fragments[0];
  return piece.programDateTime + (time - piece.start) * 1000;
}

// Safari's own player is easier on the battery and keeps going when the phone is locked; Chrome's is neither.
function nativeIsBetter(video) {
  return /apple/i.test(navigator.vendor) && video.canPlayType("application/vnd.apple.mpegurl") !== "";
}

function canPip(video) {
  return Boolean(document.pictureInPictureEnabled && video.requestPictureInPicture) || Boolean(video.webkitSupportsPresentationMode);
}

function quickLine() {
  const line = navigator.connection;
  if (!line?.effectiveType) return true; // unknown: what happens will tell
  return line.effectiveType === "4g" && line.rtt <= LL_ROUND_TRIP_MS && line.downlink >= LL_MBITS;
}

function remembered(key) {
  try {
    return sessionStorage.getItem(`player-${key}`) || "";
  } catch {
    return "";
  }
}

function remember(key, value) {
  try {
    sessionStorage.setItem(`player-${key}`, value);
  } catch { /* then it is learnt again */ }
}

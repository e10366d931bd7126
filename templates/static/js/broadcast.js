// A host's camera to the market: records with MediaRecorder and sends numbered chunks over a WebSocket.
//
//   const cast = createBroadcast({ address, measureAddress, preview, words, onChange });
//   await cast.prepare()         asks for camera and microphone, shows the preview
//   await cast.measure()         kbit/s of the line upwards; start() does it if nobody did
//   await cast.start()           on air; start({ take: true }) also where another device sends now
//   cast.flip()  cast.mute(true)  cast.stop()  cast.off()  cast.close()
//
// address    async () => ({ url }) or string: where to send, with a fresh ticket. Asked before every attempt to
//            connect, since a session may have moved to another process
// measureAddress  the same for measuring the line, which is possible before the session is on air
// preview    a <video> (or nothing)
// words      code -> sentence for what went wrong (the keys of WORDS)
// onChange   gets the state whenever it changes, and once a second on air:
//   phase      "off", "ready", "on" (the server gets it), "waiting" (recording goes on, the line is down), "over",
//              "occupied" (another device sends: start({ take: true }) takes it over)
//   problem    null or { code, text }
//   level      0 to 1, loudness now            muted
//   kbit       what the picture is allowed     uplink    kbit/s measured, 0: not measured
//   lag        seconds of recording the server has not received yet
//   size       "1280x720"
//
// Nothing is forgotten before the server has stored it: on a broken line the recording goes on, and when the line
// is back it is sent from the first chunk that is missing there. Only what no longer fits (HOLD_BYTES) is given up,
// together with its recording, because a recording with a hole cannot be followed.

const SLICE_MS = 100; // Chrome writes its clusters at about this rate
const SAFARI_SLICE_MS = 1000; // shorter ones make Safari's recorder stumble
const KEY_FRAME_MS = 1000; // else Chrome makes one in three and a half seconds
const SILENCE_MS = 4000; // the server says something twice a second
const HOLD_BYTES = 24 * 1024 * 1024; // half a minute and more
const BUFFERED = 256 * 1024; // bytes left to the socket at once; the rest waits where it can be sent again
const RETRY_MS = [200, 500, 1000, 2000, 3000];
const AUDIO_BITS = 64_000;
const LADDER = [
  { width: 1280, height: 720, bits: 2_000_000 },
  { width: 960, height: 540, bits: 1_200_000 },
  { width: 640, height: 360, bits: 650_000 },
  { width: 480, height: 270, bits: 350_000 },
  { width: 320, height: 180, bits: 180_000 },
];
const SHARE = 0.65; // of the measured line; the rest is for what happens
const LATE_S = 3; // lag that says: too much for this line
const CALM_MS = 90_000; // without lag before more is tried
const FINAL = new Set(["bad_ticket", "ended", "replaced", "occupied", "unsupported", "no_key_frame"]);
const KINDS = [
  "video/webm;codecs=h264,opus",
  "video/x-matroska;codecs=avc1,opus",
  "video/mp4;codecs=avc1.42E01F,mp4a.40.2",
  "video/mp4;codecs=avc1,mp4a.40.2",
  "video/webm;codecs=vp8,opus",
  "video/webm",
  "video/mp4",
];

export const WORDS = {
  insecure: "Trang này chưa an toàn (https) nên không mở được máy quay.",
  no_recorder: "Trình duyệt này không quay được. Hãy dùng Chrome hoặc Safari bản mới.",
  denied: "Máy quay hoặc micro chưa được cho phép. Bấm vào ổ khóa cạnh địa chỉ trang, cho phép, rồi thử lại.",
  no_camera: "Không tìm thấy máy quay hoặc micro trên máy này.",
  in_use: "Máy quay hoặc micro đang được ứng dụng khác dùng. Hãy tắt ứng dụng đó rồi thử lại.",
  interrupted: "Máy quay bị ngắt. Đang mở lại.",
  offline: "Chưa có mạng. Vẫn đang quay, có mạng lại sẽ gửi tiếp.",
  no_line: "Chưa nối được tới máy chủ hình. Vẫn đang quay và thử lại.",
  slow: "Đường truyền yếu nên hình được thu nhỏ lại.",
  too_slow: "Đường truyền quá yếu để phát hình. Hãy đổi chỗ hoặc đổi mạng.",
  lost: "Mất mạng quá lâu, một đoạn hình đã bị bỏ.",
  failed: "Không mở được máy quay. Hãy tải lại trang.",
  occupied: "Máy khác đang phát phiên này. Phát từ máy này?",
  replaced: "Máy khác đã nhận phát phiên này. Máy này đã dừng gửi hình.",
};

/** The recording format this browser is best at; "" when it can record none. */
export function pickKind() {
  if (!globalThis.MediaRecorder) return "";
  return KINDS.find((kind) => MediaRecorder.isTypeSupported(kind)) || "";
}

/** Index in LADDER for a line of `kbit` kilobits a second upwards. */
export function pickStep(kbit) {
  const room = kbit * 1000 * SHARE - AUDIO_BITS;
  const step = LADDER.findIndex((one) => one.bits <= room);
  return step < 0 ? LADDER.length - 1 : step;
}

export function createBroadcast({ address, measureAddress, preview = null, words = {}, onChange = () => {} }) {
  const text = { ...WORDS, ...words };
  const state = { phase: "off", problem: null, level: 0, muted: false, kbit: 0, uplink: 0, lag: 0, size: "" };
  const held = new Held();
  let stream = null;
  let facing = "environment";
  let step = 0;
  let floor = 0; // the best step the measured line allows
  let recorder = null;
  let lateSince = 0;
  let calmSince = 0;
  let beat = 0;
  let meter = null;
  let wakeLock = null;
  let wanted = false; // the host wants to be on air
  let reopening = false;
  let fitting = false; // the picture is being made larger or smaller by us
  const line = new Line(address, held, heard);

  function change(next) {
    Object.assign(state, next);
    onChange({ ...state });
  }
  const trouble = (code, sentence) => change({ problem: { code, text: sentence || text[code] || text.failed } });
  const solved = (...codes) => {
    if (state.problem && codes.includes(state.problem.code)) change({ problem: null });
  };

  // ---- camera and microphone

  async function prepare() {
    if (!globalThis.isSecureContext) return trouble("insecure");
    if (!navigator.mediaDevices?.getUserMedia || !pickKind()) return trouble("no_recorder");
    try {
      await open();
      change({ phase: wanted ? state.phase : "ready", problem: null });
    } catch (error) {
      trouble(reason(error));
    }
  }

  async function open(sound = null) {
    const { width, height } = LADDER[step];
    const video = { facingMode: facing, width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30, max: 30 } };
    const audio = sound ? false : { echoCancellation: false, noiseSuppression: true, autoGainControl: true };
    stream?.getVideoTracks().forEach((track) => track.stop()); // many phones open one camera at a time
    const opened = await navigator.mediaDevices.getUserMedia({ video, audio });
    if (sound) opened.addTrack(sound);
    stream = opened;
    for (const track of stream.getTracks()) {
      track.onended = () => reopen();
      if (track.kind === "audio") track.enabled = !state.muted;
    }
    if (preview) {
      preview.srcObject = stream;
      preview.muted = true;
      preview.playsInline = true;
      preview.onresize = turned;
      await preview.play().catch(() => {});
    }
    if (!sound) listen();
    describe();
  }

  function describe() {
    const { width, height } = stream.getVideoTracks()[0]?.getSettings() || {};
    change({ size: width ? `${width}x${height}` : "" });
  }

  // Another app took the camera, or the phone was locked: try until it is ours again.
  async function reopen() {
    if (reopening || !stream) return;
    reopening = true;
    trouble("interrupted");
    while (stream && (wanted || state.phase === "ready")) {
      try {
        await open();
        if (wanted) record();
        solved("interrupted");
        break;
      } catch {
        await pause(1500);
      }
    }
    reopening = false;
  }

  // The picture was turned: Chrome's recorder breaks on it, so a new one begins.
  function turned() {
    describe();
    const { videoWidth, videoHeight } = preview;
    const now = `${videoWidth}x${videoHeight}`;
    if (wanted && !fitting && recorder?.size && recorder.size !== now) record();
    else if (recorder) recorder.size = now;
  }

  async function flip() {
    facing = facing === "environment" ? "user" : "environment";
    await renew();
  }

  // The same with other pictures: the microphone stays open.
  async function renew() {
    if (!stream) return;
    try {
      await open(stream.getAudioTracks()[0] || null);
      if (wanted) record();
    } catch (error) {
      trouble(reason(error));
      reopen();
    }
  }

  function mute(on) {
    stream?.getAudioTracks().forEach((track) => (track.enabled = !on));
    change({ muted: on });
  }

  function listen() {
    meter?.close();
    meter = stream.getAudioTracks().length ? new Meter(stream) : null;
  }

  // ---- recording

  function record() {
    recorder?.stop();
    const { bits } = LADDER[step];
    recorder = new Recorder(stream, bits, held.begin(), (code) => {
      if (wanted) {
        trouble(code);
        setTimeout(() => wanted && record(), 1000);
      }
    });
    if (preview?.videoWidth) recorder.size = `${preview.videoWidth}x${preview.videoHeight}`;
    change({ kbit: Math.round(bits / 1000) });
    line.pump();
  }

  async function measure() {
    try {
      const uplink = await measureUplink(await whereTo(measureAddress));
      step = floor = pickStep(uplink);
      change({ uplink: Math.round(uplink) });
      if (uplink * 1000 < LADDER.at(-1).bits) trouble("too_slow");
      else solved("too_slow", "no_line", "offline");
    } catch {
      trouble(navigator.onLine ? "no_line" : "offline");
    }
    return state.uplink;
  }

  async function start({ take = false } = {}) {
    if (wanted) return;
    if (!stream) await prepare();
    if (!stream) return;
    if (!state.uplink) await measure();
    await fit();
    wanted = true;
    line.take = take;
    solved("occupied", "replaced", "ended");
    calmSince = Date.now();
    change({ phase: "waiting" });
    stayAwake();
    record();
    line.open();
    beat = setInterval(everySecond, 1000);
  }

  // The picture as large as this step says.
  async function fit() {
    const { width, height } = LADDER[step];
    const track = stream.getVideoTracks()[0];
    if (!track || Math.min(track.getSettings().width, track.getSettings().height) === height) return;
    fitting = true;
    await track.applyConstraints({ width: { ideal: width }, height: { ideal: height }, frameRate: { max: 30 } }).catch(() => {});
    await pause(300); // until frames of the new size come; a recorder must not see both
    fitting = false;
    describe();
  }

  function stop() {
    if (!wanted) return;
    wanted = false;
    clearInterval(beat);
    recorder?.stop();
    recorder = null;
    line.finish();
    wakeLock?.release().catch(() => {});
    wakeLock = null;
    change({ phase: "ready", lag: 0 });
  }

  /** The camera itself goes off; prepare() opens it again. */
  function off() {
    stop();
    meter?.close();
    stream?.getTracks().forEach((track) => {
      track.onended = null;
      track.stop();
    });
    stream = null;
    meter = null;
    if (preview) preview.srcObject = null;
    change({ phase: "off", level: 0, problem: null });
  }

  // ---- every second: loudness, lag, and whether the line carries what we send

  function everySecond() {
    const now = Date.now();
    const lag = held.lag(now);
    change({ lag: Math.round(lag * 10) / 10 });
    if (held.tooMuch) {
      held.clear();
      trouble("lost");
      record();
      return;
    }
    if (state.phase !== "on") return;
    lateSince = lag > LATE_S ? lateSince || now : 0;
    if (lag > LATE_S / 2) calmSince = now;
    if (lateSince && now - lateSince > 2000 && step < LADDER.length - 1) {
      changeStep(step + 1);
      trouble("slow");
    } else if (now - calmSince > CALM_MS && step > floor) {
      changeStep(step - 1);
      solved("slow");
    }
  }

  async function changeStep(next) {
    step = next;
    lateSince = 0;
    calmSince = Date.now();
    await fit();
    if (wanted) record();
  }

  const ticking = setInterval(() => {
    if (meter) change({ level: meter.level() });
  }, 150);

  // ---- what the line says

  function heard(what, detail) {
    if (!wanted && what !== "end") return;
    if (what === "open") {
      change({ phase: "on" });
      solved("no_line", "offline", "lost", "archive");
    } else if (what === "down") {
      change({ phase: "waiting" });
      if (detail > 1) trouble(navigator.onLine ? "no_line" : "offline");
    } else if (what === "again") {
      held.clear();
      record();
    } else if (what === "end") {
      if (detail.code === "moved" || detail.code === "busy") return;
      if (FINAL.has(detail.code)) {
        held.clear(); // nobody wants it any more
        stop();
        change({ phase: detail.code === "occupied" ? "occupied" : "over" });
      } else {
        held.clear();
        if (wanted) record();
      }
      trouble(detail.code, words[detail.code] || detail.text);
    }
  }

  // ---- the phone stays awake

  async function stayAwake() {
    try {
      wakeLock = await navigator.wakeLock?.request("screen");
    } catch { /* a low battery refuses it; the host sees the screen go dark */ }
  }

  function seen() {
    if (document.visibilityState !== "visible" || !wanted) return;
    stayAwake();
    if (stream?.getTracks().some((track) => track.readyState === "ended")) reopen();
    line.hurry();
  }
  document.addEventListener("visibilitychange", seen);
  addEventListener("online", () => line.hurry());

  return {
    state,
    prepare,
    measure,
    start,
    stop,
    flip,
    mute,
    off,
    close() {
      clearInterval(ticking);
      document.removeEventListener("visibilitychange", seen);
      off();
    },
  };
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function reason(error) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "no_camera";
    case "NotReadableError":
    case "AbortError":
      return "in_use";
    default:
      return "failed";
  }
}

async function whereTo(address) {
  const found = await address();
  return typeof found === "string" ? found : found.url;
}

// One MediaRecorder and the recording it fills.
class Recorder {
  constructor(stream, bits, recording, onFault) {
    const mimeType = pickKind();
    this.size = "";
    this.recording = recording;
    this.recorder = new MediaRecorder(stream, {
      mimeType,
      videoBitsPerSecond: bits,
      audioBitsPerSecond: AUDIO_BITS,
      videoKeyFrameIntervalDuration: KEY_FRAME_MS,
    });
    let order = Promise.resolve();
    this.recorder.ondataavailable = ({ data }) => {
      const at = Date.now();
      if (data.size === 0) return; // Safari
      order = order.then(async () => recording.add(await data.arrayBuffer(), at));
    };
    this.recorder.onstop = () => order.then(() => recording.complete());
    this.recorder.onerror = () => {
      this.stop();
      onFault("interrupted");
    };
    this.recorder.start(mimeType.startsWith("video/mp4") ? SAFARI_SLICE_MS : SLICE_MS);
  }

  stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
  }
}

// What was recorded and is not stored by the server yet: recordings in order, each with its chunks.
class Held {
  constructor() {
    this.recordings = [];
    this.onAdd = () => {};
  }

  begin() {
    const recording = new Recording(() => this.onAdd());
    this.recordings.push(recording);
    return recording;
  }

  /** The recording that is sent now. */
  get current() {
    return this.recordings[0];
  }

  /** The oldest recording is with the server: on to the next. False when there is none. */
  next() {
    if (this.recordings.length < 2) return false;
    this.recordings.shift();
    return true;
  }

  clear() {
    this.recordings.forEach((one) => one.drop());
    this.recordings = [];
  }

  get tooMuch() {
    return this.recordings.reduce((sum, one) => sum + one.bytes, 0) > HOLD_BYTES;
  }

  /** Seconds since the oldest chunk that the server does not have was recorded. */
  lag(now) {
    for (const recording of this.recordings) {
      const at = recording.oldestUnsent();
      if (at) return (now - at) / 1000;
    }
    return 0;
  }
}

class Recording {
  constructor(onAdd) {
    this.id = randomId();
    this.first = 0; // number of chunks[0]
    this.chunks = [];
    this.sent = 0; // next number to send on the present connection
    this.received = -1;
    this.bytes = 0;
    this.full = false; // complete: nothing more will come
    this.dropped = false;
    this.onAdd = onAdd;
  }

  get end() {
    return this.first + this.chunks.length;
  }

  add(data, at) {
    if (this.dropped) return;
    this.chunks.push({ data, at });
    this.bytes += data.byteLength;
    this.onAdd();
  }

  complete() {
    this.full = true;
    this.onAdd();
  }

  drop() {
    this.dropped = true;
    this.chunks = [];
    this.bytes = 0;
  }

  forget(stored) {
    while (this.chunks.length && this.first <= stored) {
      this.bytes -= this.chunks.shift().data.byteLength;
      this.first += 1;
    }
  }

  chunk(number) {
    return this.chunks[number - this.first]?.data;
  }

  oldestUnsent() {
    return this.chunks[Math.max(0, this.received + 1 - this.first)]?.at || 0;
  }
}

// A counter would begin again with every reload and meet an older recording of the same number.
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

// By it the server knows a reloaded page from another phone.
let ownName = "";
function deviceName() {
  try {
    ownName ||= localStorage.getItem("device") || "";
    if (!ownName) localStorage.setItem("device", (ownName = randomId()));
  } catch { /* then each page is a device of its own */ }
  return (ownName ||= randomId());
}

// The connection to the video process: opened, watched, opened again.
class Line {
  constructor(address, held, heard) {
    this.address = address;
    this.held = held;
    this.heard = heard;
    this.socket = null;
    this.ready = false; // the server has said from where it wants the current recording
    this.wanted = false;
    this.failures = 0;
    this.heardAt = 0;
    this.retry = 0;
    this.watch = 0;
    this.take = false; // a person said: from this device
    this.mine = false; // it was this device that sent
    this.turn = 0; // which opening this is
    held.onAdd = () => this.pump();
  }

  open() {
    this.wanted = true;
    this.mine = false;
    this.turn += 1;
    this.watch = setInterval(() => this.check(), 1000);
    this.connect();
  }

  /** Everything recorded so far is still sent, then the line is closed. */
  async finish() {
    const { turn } = this;
    clearTimeout(this.retry);
    clearInterval(this.watch);
    for (let i = 0; i < 30 && this.socket && !this.done(); i += 1) {
      this.pump();
      await pause(100);
      if (turn !== this.turn) return; // begun anew meanwhile: it goes on
    }
    this.wanted = false;
    this.say({ type: "stop" });
    this.forget();
    this.held.clear();
  }

  done() {
    const recording = this.held.current;
    return !recording || (recording.full && recording.sent >= recording.end && this.held.recordings.length === 1);
  }

  async connect() {
    clearTimeout(this.retry);
    this.forget();
    let url = "";
    try {
      url = await whereTo(this.address);
    } catch { /* no network, or the market is away: the same as a line that is down */ }
    if (!this.wanted || this.socket) return;
    if (!url) return this.failed();
    const socket = new WebSocket(url);
    this.socket = socket;
    this.heardAt = Date.now();
    socket.onopen = () => socket === this.socket && this.greet();
    socket.onmessage = ({ data }) => socket === this.socket && this.read(JSON.parse(data));
    socket.onclose = () => socket === this.socket && this.failed();
  }

  forget() {
    const old = this.socket;
    this.socket = null;
    this.ready = false;
    if (old) {
      old.onopen = old.onmessage = old.onclose = null;
      if (old.readyState < WebSocket.CLOSING) old.close();
    }
  }

  failed() {
    this.forget();
    if (!this.wanted) return;
    this.failures += 1;
    this.heard("down", this.failures);
    const wait = RETRY_MS[Math.min(this.failures - 1, RETRY_MS.length - 1)];
    this.retry = setTimeout(() => this.connect(), wait * (0.75 + Math.random() / 2));
  }

  /** A dead line is not noticed by browsers. */
  check() {
    if (this.socket && Date.now() - this.heardAt > SILENCE_MS) this.failed();
    this.pump();
  }

  hurry() {
    if (this.wanted && !this.ready) this.connect();
  }

  greet() {
    const recording = this.held.current;
    this.ready = false;
    if (!recording) return;
    const { take, mine } = this;
    this.say({ type: "hello", recording: recording.id, first: recording.first, device: deviceName(), take, mine });
  }

  say(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  read(message) {
    this.heardAt = Date.now();
    const recording = this.held.current;
    if (message.type === "go" && recording) {
      recording.sent = Math.max(message.next, recording.first);
      recording.received = message.next - 1;
      this.failures = 0;
      this.take = false; // once: what others wish after it counts again
      this.mine = true;
      this.ready = true;
      this.heard("open");
      this.pump();
    } else if (message.type === "ack" && recording && this.ready) {
      recording.received = message.received;
      recording.forget(message.stored);
      this.pump();
    } else if (message.type === "again") {
      this.heard("again");
      this.greet();
    } else if (message.type === "end") {
      this.heard("end", message);
    }
  }

  /** Sends what the socket takes. */
  pump() {
    const recording = this.held.current;
    if (!recording || this.socket?.readyState !== WebSocket.OPEN) return;
    if (!this.ready) return;
    while (recording.sent < recording.end && this.socket.bufferedAmount < BUFFERED) {
      const data = recording.chunk(recording.sent);
      const message = new Uint8Array(4 + data.byteLength);
      new DataView(message.buffer).setUint32(0, recording.sent);
      message.set(new Uint8Array(data), 4);
      this.socket.send(message);
      recording.sent += 1;
    }
    if (recording.full && recording.received >= recording.end - 1 && this.held.next()) {
      this.say({ type: "stop" });
      this.greet();
    }
  }
}

// Loudness of the microphone, 0 to 1, as people hear it.
class Meter {
  constructor(stream) {
    this.context = new AudioContext();
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 2048;
    this.source = this.context.createMediaStreamSource(new MediaStream(stream.getAudioTracks()));
    this.source.connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  level() {
    if (this.context.state === "suspended") this.context.resume().catch(() => {});
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, one) => sum + one * one, 0) / this.samples.length;
    const db = 10 * Math.log10(power || 1e-9);
    return Math.min(1, Math.max(0, (db + 60) / 60));
  }

  close() {
    this.source.disconnect();
    this.context.close().catch(() => {});
  }
}

/** kbit/s upwards: how fast the video process takes bytes that it throws away. */
export async function measureUplink(url, seconds = 2.5) {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  const marks = [];
  try {
    await new Promise((done, fail) => {
      socket.onopen = done;
      socket.onerror = fail;
    });
    const piece = crypto.getRandomValues(new Uint8Array(8 * 1024));
    const ended = new Promise((done) => (socket.onclose = done));
    socket.onmessage = ({ data }) => marks.push({ at: performance.now(), bytes: JSON.parse(data).bytes });
    const until = performance.now() + seconds * 1000;
    while (performance.now() < until && socket.readyState === WebSocket.OPEN) {
      while (socket.bufferedAmount < 128 * 1024) socket.send(piece);
      await pause(20);
    }
    socket.close();
    await Promise.race([ended, pause(1000)]);
  } finally {
    socket.close();
  }
  if (marks.length < 2) throw new Error("nothing came through");
  const first = marks[0];
  const last = marks.at(-1);
  return ((last.bytes - first.bytes) * 8) / Math.max(1, last.at - first.at);
}

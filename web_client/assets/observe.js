// @ts-check
/** The observer's page: live picture, sound, indicators and alerts of one interview. */

import { AlertLog, isKnownAlert } from "./alerts.js";
import { byId, create, element, linkToken, reloadOnNewLink, showStage } from "./dom.js";
import { FaceFrame } from "./face_frame.js";
import { clock } from "./format.js";
import { initLanguage, onLanguage, setText, t } from "./i18n.js";
import { IndicatorPanel } from "./indicator_panel.js";
import { refusalOf } from "./refusal.js";
import { Signaling } from "./signaling.js";
import { TwoPictures } from "./two_pictures.js";
import { Watcher } from "./watcher.js";

/** @typedef {import("./protocol.js").InterviewState} InterviewState */
/** @typedef {import("./protocol.js").ServerMessage} ServerMessage */

const STATE_TONE = { waiting: "wait", live: "good", interrupted: "bad", ended: "wait" };

const token = linkToken();
/** An owner's link is for all interviews: the address says which. */
const ofOwner = new URLSearchParams(location.search).get("interview");
const video = element("video", HTMLVideoElement);
const alertLog = new AlertLog();
const faceFrame = new FaceFrame(byId("face-frame"), video);
const pictures = new TwoPictures(byId("picture"), element("swap", HTMLButtonElement), () => faceFrame.show());

/** @type {InterviewState} */
let state = "waiting";
/** @type {number | null} */
let startedS = null;
let endedAfterS = 0;
let mayReplay = false;
let screenShared = false;
let restarting = false;
let title = "";

const signaling = new Signaling(token, {
  onMessage: receive,
  onState: () => {
    if (!signaling.online) showRecording(false);
    byId("loading-text").hidden = signaling.connection.failures > 0;
    byId("loading-retry").hidden = signaling.connection.failures === 0;
    setText(byId("loading-retry"), restarting ? "loading.restarting" : "loading.retrying");
    showState();
  },
  onRefused: (error) => {
    watcher.stop();
    showRefused(error.id);
  },
}, ofOwner);
const watcher = new Watcher(signaling, video, element("screen", HTMLVideoElement), showState);
const panel = new IndicatorPanel(
  { main: byId("panel"), side: byId("panel-side") },
  () => signaling.serverNowS(),
);

/** @param {ServerMessage} message */
function receive(message) {
  switch (message.type) {
    case "welcome":
      welcome(message);
      break;
    case "answer":
      void watcher.peer.answered(message.sdp);
      break;
    case "state":
      startedS = message.started_s ?? startedS;
      enter(message.state);
      break;
    case "recording":
      showRecording(message.active);
      break;
    case "screen":
      screenShared = message.active;
      showState();
      break;
    case "indicators":
      panel.add(message.values);
      faceFrame.add(message.values);
      break;
    case "alert":
      takeAlert(message.alert);
      break;
    case "error":
      console.warn(`server: ${message.id}: ${message.message}`);
      restarting = message.id === "server-restarting";
      if (message.retry_after_s && !message.fatal) watcher.postpone(message.retry_after_s);
      else watcher.peer.refused();
      break;
  }
}

/** @param {import("./protocol.js").Welcome} message */
function welcome(message) {
  restarting = false;
  title = message.interview.title;
  byId("interview-title").textContent = title;
  mayReplay = message.role === "recruiter" || message.role === "owner";
  element("to-recording", HTMLAnchorElement).href =
    `/recordings?interview=${encodeURIComponent(message.interview.id)}#${token}`;
  alertLog.forgetActive();
  if (document.body.dataset.at !== "watch") showStage("watch");
  watcher.stop();
  enter(message.state);
}

/** @param {InterviewState} next */
function enter(next) {
  state = next;
  if (state === "live" && !watcher.wanted) watcher.start();
  if (state === "ended" || state === "waiting") watcher.stop();
  if (state !== "live") faceFrame.clear();
  if (state === "ended") {
    endedAfterS = startedS === null ? 0 : signaling.serverNowS() - startedS;
    alertLog.endAll(signaling.serverNowS());
  }
  showAlerts();
  showState();
}

function showState() {
  const pill = byId("state");
  const connected = watcher.peer.state === "connected";
  const busy = signaling.online && watcher.retry.waiting;
  const away = !signaling.online || (state === "live" && watcher.peer.state === "lost" && !busy);
  pill.dataset.tone = away ? "bad" : STATE_TONE[state];
  setText(pill, away ? "link.reconnecting" : `state.${state}`);
  const picture = state === "live" && connected;
  const soundOnly = picture && !screenShared && alertLog.isActive("sound-only");
  byId("empty").hidden = picture && !soundOnly;
  if (pictures.shared !== (picture && screenShared)) pictures.show(picture && screenShared);
  const empty = emptyFor(busy, soundOnly);
  setText(byId("empty-title"), `empty.${empty}.title`);
  setText(byId("empty-text"), `empty.${empty}.text`, { seconds: watcher.retry.leftS(performance.now()) });
  byId("to-recording").hidden = !(state === "ended" && mayReplay);
  byId("sound-on").hidden = !(picture && watcher.soundRefused);
  setText(byId("mute-text"), video.muted ? "watch.unmute" : "watch.mute");
  element("mute-icon", SVGUseElement).setAttribute("href", `/assets/icons.svg#${video.muted ? "muted" : "speaker"}`);
}

/**
 * Why there is no picture.
 * @param {boolean} busy
 * @param {boolean} soundOnly
 */
function emptyFor(busy, soundOnly) {
  if (!signaling.online && restarting) return "restarting";
  if (state !== "live") return state;
  if (busy) return "busy";
  if (!signaling.online) return "lost";
  return soundOnly ? "sound-only" : "connecting";
}

/** @param {boolean} active */
function showRecording(active) {
  byId("recording").dataset.active = String(active);
  setText(byId("recording-text"), active ? "call.recording" : "call.not-recording");
}

/** @param {import("./protocol.js").Alert} alert */
function takeAlert(alert) {
  if (!alertLog.take(alert, signaling.serverNowS())) return;
  const name = alertName(alert.id);
  setText(byId("alerts-live"), alert.active ? "alerts.begun" : "alerts.over", { name });
  showAlerts();
  showState();
}

/** @param {string} id */
function alertName(id) {
  return isKnownAlert(id) ? t(`alert.${id}`) : id;
}

function showAlerts() {
  const now = signaling.serverNowS();
  byId("no-alerts").hidden = alertLog.entries.length > 0;
  const items = alertLog.entries.map((entry) => {
    const lasted = clock((entry.endedS ?? now) - entry.sinceS);
    const time = create("span", "alert-time");
    if (entry.endedS === null) setText(time, "alerts.since", { time: lasted });
    else setText(time, "alerts.ended", { time: lasted, ago: clock(now - entry.endedS) });
    const item = create("li", "alert", create("span", "alert-name", alertName(entry.id)), time);
    item.dataset.active = String(entry.endedS === null);
    return item;
  });
  byId("alerts").replaceChildren(...items);
}

/** @param {string} errorId */
function showRefused(errorId) {
  const refusal = refusalOf(errorId);
  setText(byId("over-title"), `refused.${refusal}.title`);
  setText(byId("over-text"), `refused.${refusal}.text`);
  const act = byId("over-act");
  act.hidden = refusal !== "other";
  act.onclick = () => location.reload();
  showStage("over");
}

function tick() {
  const elapsed = startedS === null ? 0 : signaling.serverNowS() - startedS;
  byId("elapsed").textContent = clock(state === "ended" ? endedAfterS : elapsed);
  showAlerts();
  watcher.tick();
  if (watcher.retry.waiting) showState();
}

initLanguage();
onLanguage(() => {
  document.title = `${title || t("watch.page")} · Vivavoce`;
  showAlerts();
});
reloadOnNewLink();
element("home", HTMLAnchorElement).href = `/#${token}`;
byId("mute").addEventListener("click", () => watcher.mute(!video.muted));
byId("sound-on").addEventListener("click", () => watcher.mute(false));
byId("face-toggle").addEventListener("click", () => {
  faceFrame.wanted = !faceFrame.wanted;
  byId("face-toggle").setAttribute("aria-pressed", String(faceFrame.wanted));
  faceFrame.show();
});
window.setInterval(tick, 500);
if (token) signaling.start();
else showRefused("token-missing");

// @ts-check
/** Seeing one interview live, without the candidate's knowing: pictures, indicators, alerts. */

import { AlertLog, isKnownAlert, isQuiet } from "./alerts.js";
import { byId, create, element } from "./dom.js";
import { FaceFrame } from "./face_frame.js";
import { clock } from "./format.js";
import { onLanguage, setText, t } from "./i18n.js";
import { IndicatorPanel } from "./indicator_panel.js";
import { Pictures } from "./pictures.js";

/** @typedef {import("./pictures.js").Picture} Picture */
/** @typedef {import("./protocol.js").InterviewState} InterviewState */
/** @typedef {import("./protocol.js").ServerMessage} ServerMessage */

const STATE_TONE = { waiting: "wait", live: "good", interrupted: "bad", ended: "wait" };

export class Watching {
  /**
   * @param {import("./watcher.js").Watcher} watcher
   * @param {Partial<Record<Picture, HTMLElement>>} others places of further pictures: the
   *   interviewer's, or the interviewer's own
   * @param {() => void} onSound whether there is sound has changed
   */
  constructor(watcher, others, onSound = () => {}) {
    const { signaling } = watcher;
    this.signaling = signaling;
    this.watcher = watcher;
    this.onSound = onSound;
    this.video = element("video", HTMLVideoElement);
    this.alertLog = new AlertLog();
    this.faceFrame = new FaceFrame(byId("face-frame"), this.video);
    /** @type {Picture[]} pictures that are there whatever the server tells */
    this.always = others.self ? ["camera", "self"] : ["camera"];
    this.pictures = new Pictures(
      { screen: byId("picture-screen"), camera: byId("picture-camera"), ...others },
      () => this.faceFrame.show(),
    );
    watcher.onChange = () => this.show();
    this.panel = new IndicatorPanel(
      { main: byId("panel"), side: byId("panel-side") },
      () => signaling.serverNowS(),
    );
    /** @type {InterviewState} */
    this.state = "waiting";
    /** @type {number | null} */
    this.startedS = null;
    this.endedAfterS = 0;
    this.mayReplay = false;
    this.screenShared = false;
    this.interviewerThere = false;
    /** The server has said that it restarts. */
    this.restarting = false;
    /** @type {import("./protocol.js").Role[]} */
    this.watchers = [];
    byId("sound-on").addEventListener("click", () => this.watcher.mute(false));
    byId("face-toggle").addEventListener("click", () => this.toggleFaceFrame());
    onLanguage(() => {
      this.showAlerts();
      this.showWatchers();
    });
    window.setInterval(() => this.tick(), 500);
  }

  /** @param {ServerMessage} message */
  receive(message) {
    switch (message.type) {
      case "welcome":
        this.restarting = false;
        this.mayReplay = message.role === "recruiter" || message.role === "owner";
        this.alertLog.forgetActive();
        this.watcher.welcome();
        this.showCamera("candidate", true); // until told otherwise
        this.showCamera("interviewer", true);
        this.enter(message.state);
        break;
      case "state":
        this.startedS = message.started_s ?? this.startedS;
        this.enter(message.state);
        break;
      case "recording":
        this.showRecording(message.active);
        break;
      case "interviewer":
        this.interviewerThere = message.active;
        this.show();
        break;
      case "camera":
        this.showCamera(message.role, message.active);
        break;
      case "screen":
        this.screenShared = message.active;
        this.show();
        break;
      case "watchers":
        this.watchers = message.roles;
        this.showWatchers();
        break;
      case "indicators":
        this.panel.add(message.values);
        this.faceFrame.add(message.values);
        break;
      case "alert":
        this.takeAlert(message.alert);
        break;
      case "error":
        if (message.connection === "up") break;
        console.warn(`server: ${message.id}: ${message.message}`);
        this.restarting = message.id === "server-restarting";
        if (message.retry_after_s && !message.fatal) this.watcher.postpone(message.retry_after_s);
        else this.watcher.peer.refused();
        break;
    }
  }

  /**
   * @param {import("./protocol.js").Role} role
   * @param {boolean} on
   */
  showCamera(role, on) {
    if (role === "candidate") this.faceFrame.clear();
    this.pictures.showCamera(role === "candidate" ? "camera" : "interviewer", on);
  }

  signalingMoved() {
    if (!this.signaling.online) this.showRecording(false);
    this.show();
  }

  /** @param {InterviewState} next */
  enter(next) {
    this.state = next;
    this.watcher.follow(next);
    if (next !== "live") this.faceFrame.clear();
    if (next === "ended") {
      this.endedAfterS = this.startedS === null ? 0 : this.signaling.serverNowS() - this.startedS;
      this.alertLog.endAll(this.signaling.serverNowS());
    }
    this.showAlerts();
    this.show();
  }

  show() {
    const { state, signaling, watcher } = this;
    const pill = byId("state");
    const connected = watcher.peer.state === "connected";
    const busy = signaling.online && watcher.retry.waiting;
    const away = !signaling.online || (state === "live" && watcher.peer.state === "lost" && !busy);
    pill.dataset.tone = away ? "bad" : STATE_TONE[state];
    setText(pill, away ? "link.reconnecting" : `state.${state}`);
    const picture = state === "live" && connected;
    const soundOnly = picture && !this.screenShared && this.alertLog.isActive("sound-only");
    byId("empty").hidden = picture && !soundOnly;
    const there = [...this.always];
    if (picture && this.screenShared) there.push("screen");
    if (picture && this.interviewerThere) there.push("interviewer");
    this.pictures.show(...there);
    byId("picture-camera").dataset.named = String(there.includes("interviewer") || there.includes("self"));
    const empty = this.emptyFor(busy, soundOnly);
    setText(byId("empty-title"), `empty.${empty}.title`);
    setText(byId("empty-text"), `empty.${empty}.text`, { seconds: watcher.retry.leftS(performance.now()) });
    byId("to-recording").hidden = !(state === "ended" && this.mayReplay);
    byId("sound-on").hidden = !(picture && watcher.soundRefused);
    this.onSound();
  }

  /**
   * Why there is no picture.
   * @param {boolean} busy
   * @param {boolean} soundOnly
   */
  emptyFor(busy, soundOnly) {
    if (!this.signaling.online && this.restarting) return "restarting";
    if (this.state !== "live") return this.state;
    if (busy) return "busy";
    if (!this.signaling.online) return "lost";
    return soundOnly ? "sound-only" : "connecting";
  }

  /** Who else watches: people whom the candidate does not see, so each other they should. */
  showWatchers() {
    /** @type {import("./protocol.js").Role[]} */
    const roles = [...new Set(this.watchers)];
    const who = roles.map((role) => {
      const count = this.watchers.filter((each) => each === role).length;
      const name = role === "owner" ? t("watchers.owner") : t(`links.${role}`);
      return count > 1 ? `${name} × ${count}` : name;
    });
    const nobody = this.watchers.length === 0;
    setText(byId("watchers"), nobody ? "watchers.none" : "watchers.now", { who: who.join(t("list.comma")) });
  }

  toggleFaceFrame() {
    this.faceFrame.wanted = !this.faceFrame.wanted;
    byId("face-toggle").setAttribute("aria-pressed", String(this.faceFrame.wanted));
    this.faceFrame.show();
  }

  /** @param {boolean} active */
  showRecording(active) {
    byId("recording").dataset.active = String(active);
    setText(byId("recording-text"), active ? "call.recording" : "call.not-recording");
  }

  /** @param {import("./protocol.js").Alert} alert */
  takeAlert(alert) {
    if (!this.alertLog.take(alert, this.signaling.serverNowS())) return;
    const name = alertName(alert.id);
    if (alert.id === "store-behind" && !alert.active) setText(byId("alerts-live"), "alerts.store-caught-up");
    else setText(byId("alerts-live"), alert.active ? "alerts.begun" : "alerts.over", { name });
    this.showAlerts();
    this.show();
  }

  showAlerts() {
    const now = this.signaling.serverNowS();
    byId("no-alerts").hidden = this.alertLog.entries.length > 0;
    const items = this.alertLog.entries.map((entry) => {
      const lasted = clock((entry.endedS ?? now) - entry.sinceS);
      const time = create("span", "alert-time");
      if (entry.endedS === null) setText(time, "alerts.since", { time: lasted });
      else setText(time, "alerts.ended", { time: lasted, ago: clock(now - entry.endedS) });
      const caughtUp = entry.id === "store-behind" && entry.endedS !== null;
      const name = caughtUp ? t("alerts.store-caught-up") : alertName(entry.id);
      const item = create("li", "alert", create("span", "alert-name", name), time);
      item.dataset.active = String(entry.endedS === null);
      item.dataset.quiet = String(isQuiet(entry.id));
      return item;
    });
    byId("alerts").replaceChildren(...items);
  }

  tick() {
    const elapsed = this.startedS === null ? 0 : this.signaling.serverNowS() - this.startedS;
    byId("elapsed").textContent = clock(this.state === "ended" ? this.endedAfterS : elapsed);
    this.showAlerts();
    this.watcher.tick();
    if (this.watcher.retry.waiting) this.show();
  }
}

/** @param {string} id */
function alertName(id) {
  return isKnownAlert(id) ? t(`alert.${id}`) : id;
}

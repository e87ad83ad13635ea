// @ts-check
/** Speaking in an interview: sending camera and microphone, controls, coming back by itself. */

import { CallView } from "./call_view.js";
import { openDevices, stopStream } from "./devices.js";
import { showStage } from "./dom.js";
import { Peer } from "./peer.js";
import { FullSize, isWeak, offerSoundRepairs, preferDegradation, sendStream } from "./publisher.js";
import { refusalOf } from "./refusal.js";
import { Retry } from "./retry.js";
import { Signaling } from "./signaling.js";

/** @typedef {import("./devices.js").Choice} Choice */
/** @typedef {import("./protocol.js").ServerMessage} ServerMessage */

const STATS_INTERVAL_MS = 2000;

/**
 * @typedef {object} CallHandlers
 * @property {(reason: "left" | "replaced" | "ended") => void} onOver
 * @property {(refusal: import("./refusal.js").Refusal) => void} onRefused
 * @property {(choice: Choice) => void} onChoice other devices were chosen
 * @property {(message: ServerMessage) => void} [onMessage] every message of the server
 * @property {() => void} [onSignaling] signalling is there, or not any more
 */

export class Call {
  /**
   * @param {string} token
   * @param {CallHandlers} handlers
   */
  constructor(token, handlers) {
    this.handlers = handlers;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {Choice} */
    this.choice = {};
    this.weak = false;
    this.cameraOff = false;
    this.microphoneOff = false;
    this.timers = [0, 0];
    this.retry = new Retry();
    /** @type {"busy" | "restarting" | null} why the server does not take us now */
    this.wait = null;
    /** @type {WakeLockSentinel | null} */
    this.wakeLock = null;
    this.signaling = new Signaling(token);
    this.signaling.listen({
      onMessage: (message) => this.receive(message),
      onState: () => this.signalingMoved(),
      onRefused: (error) => {
        this.stop();
        handlers.onRefused(refusalOf(error.id));
      },
    });
    this.signaling.onAnswer.up = (sdp) => void this.answered(sdp);
    this.peer = new Peer({
      configure: (pc) => this.configure(pc),
      offer: (sdp) =>
        this.signaling.send({ type: "publish", sdp: offerSoundRepairs(sdp), consent: true, notice: this.notice }),
      restart: (sdp) =>
        this.signaling.send({ type: "restart", sdp: offerSoundRepairs(sdp), connection: "up" }),
      onceWelcome: (act) => this.signaling.onceWelcome(act),
      iceServers: () => this.signaling.iceServers,
      onState: () => this.peerMoved(),
      onLost: (answered) => this.peerLost(answered),
      onSilent: () => this.signaling.doubt(),
    });
    /** @type {RTCRtpSender | null} of a screen's section, whether anything is shared or not */
    this.screenSender = null;
    this.fullSize = new FullSize();
    this.view = new CallView({
      onToggle: (kind) => this.toggle(kind),
      onFlip: () => void this.flip(),
      onLeave: () => this.leave(),
      onChooseAgain: () => void this.replaceDevices({}),
    });
    document.addEventListener("visibilitychange", () => void this.keepAwake());
  }

  /** What those who speak were told and agreed to: version and language; empty: nothing is asked. */
  get notice() {
    return "";
  }

  /**
   * @param {MediaStream} stream
   * @param {Choice} choice
   */
  start(stream, choice) {
    this.choice = choice;
    this.use(stream);
    showStage("call");
    this.signaling.opening = crypto.randomUUID();
    this.signaling.start();
    this.timers = [
      window.setInterval(() => this.tick(), 250),
      window.setInterval(() => void this.measure(), STATS_INTERVAL_MS),
    ];
    void this.keepAwake();
  }

  stop() {
    for (const timer of this.timers) window.clearInterval(timer);
    this.screenSender = null;
    this.waitFor(null);
    this.peer.close();
    this.signaling.stop();
    stopStream(this.stream);
    this.stream = null;
    this.view.showStream(null);
    void this.wakeLock?.release();
    this.wakeLock = null;
  }

  leave() {
    // A socket that is closed right after still delivers what was sent before.
    this.signaling.send({ type: "leave" });
    this.over("left");
  }

  /** @param {"left" | "replaced" | "ended"} reason */
  over(reason) {
    this.stop();
    this.handlers.onOver(reason);
  }

  /** @param {ServerMessage} message */
  receive(message) {
    switch (message.type) {
      case "welcome":
        this.waitFor(null);
        if (this.cameraOff) this.signaling.send({ type: "camera", active: false });
        if (this.microphoneOff) this.signaling.send({ type: "microphone", active: false });
        void this.peer.recover();
        break;
      case "replaced":
        this.over("replaced");
        break;
      case "error":
        if (message.connection === "down") break;
        console.warn(`server: ${message.id}: ${message.message}`);
        if (message.id === "server-restarting") this.waitFor("restarting");
        if (message.retry_after_s && !message.fatal) this.postpone(message.retry_after_s);
        else this.peer.refused();
        break;
    }
    this.handlers.onMessage?.(message);
  }

  /**
   * There is no room for us now: the server says when to offer again.
   * @param {number} afterS
   */
  postpone(afterS) {
    this.peer.defer();
    this.retry.begin(afterS, performance.now(), Math.random());
    if (this.wait === null) this.waitFor("busy");
  }

  /** @param {"busy" | "restarting" | null} reason */
  waitFor(reason) {
    this.wait = reason;
    if (reason === null) this.retry.clear();
    this.showWait();
  }

  showWait() {
    this.view.showWait(this.wait, this.retry.waiting ? this.retry.leftS(performance.now()) : null);
    this.showLink();
  }

  tick() {
    if (this.wait !== null) this.showWait();
    if (this.signaling.online && this.retry.due(performance.now())) void this.peer.renew();
  }

  /** @param {string} sdp */
  async answered(sdp) {
    this.waitFor(null);
    await this.peer.answered(sdp);
    if (this.peer.pc) await preferDegradation(this.peer.pc, this.screenSender, "balanced");
  }

  /** @param {RTCPeerConnection} pc */
  configure(pc) {
    this.fullSize = new FullSize();
    if (this.stream) sendStream(pc, this.stream);
  }

  signalingMoved() {
    this.showLink();
    this.handlers.onSignaling?.();
  }

  peerMoved() {
    if (this.peer.state !== "connected") this.weak = false;
    if (this.peer.state === "unsteady") this.signaling.doubt();
    this.showLink();
  }

  /** @param {boolean} answered */
  peerLost(answered) {
    if (!this.signaling.online) return; // `welcome` recovers
    if (answered) void this.peer.renew();
    else this.signaling.reconnect();
  }

  showLink() {
    if (this.wait !== null) return this.view.showLink("waiting");
    const lost = this.peer.state === "lost" || this.signaling.connection.failures > 0;
    if (lost || this.peer.state === "unsteady") {
      this.view.showLink(navigator.onLine ? "reconnecting" : "offline");
    } else if (this.peer.state !== "connected") {
      this.view.showLink("connecting");
    } else {
      this.view.showLink(this.weak ? "weak" : "connected");
    }
  }

  async measure() {
    if (this.peer.state !== "connected" || this.peer.pc === null) return;
    const { pc } = this.peer;
    const report = await pc.getStats();
    this.weak = isWeak(report.values());
    this.showLink();
    const preference = this.fullSize.look(report.values(), performance.now() / 1000);
    if (preference) await preferDegradation(pc, this.screenSender, preference);
  }

  /** @param {"audio" | "video"} kind */
  toggle(kind) {
    for (const track of this.stream?.getTracks() ?? []) {
      if (track.kind === kind) track.enabled = !track.enabled;
    }
    this.showMuted();
  }

  showMuted() {
    this.view.showMuted(this.stream);
    const cameraOff = this.stream?.getVideoTracks().some((track) => !track.enabled) ?? false;
    if (cameraOff !== this.cameraOff) this.signaling.send({ type: "camera", active: !cameraOff });
    this.cameraOff = cameraOff;
    const off = this.stream?.getAudioTracks().some((track) => !track.enabled) ?? false;
    if (off !== this.microphoneOff) this.signaling.send({ type: "microphone", active: !off });
    this.microphoneOff = off;
  }

  async flip() {
    const facing = this.choice.facing === "environment" ? "user" : "environment";
    await this.replaceDevices({ facing, microphone: this.choice.microphone });
  }

  /**
   * Change devices in mid-interview, on the same connection.
   * @param {Choice} choice
   */
  async replaceDevices(choice) {
    const muted = this.stream?.getTracks().filter((track) => !track.enabled).map((track) => track.kind);
    stopStream(this.stream); // phones refuse a second camera while the first is open
    try {
      const stream = await openDevices(choice);
      for (const track of stream.getTracks()) track.enabled = !muted?.includes(track.kind);
      this.choice = choice;
      this.handlers.onChoice(choice);
      this.use(stream);
    } catch (error) {
      console.warn(error);
      this.view.showNotice("call.device-lost");
      return;
    }
    for (const sender of this.peer.pc?.getSenders() ?? []) {
      if (sender === this.screenSender) continue;
      const track = this.stream?.getTracks().find(({ kind }) => kind === sender.track?.kind);
      if (track) await sender.replaceTrack(track);
    }
  }

  /** @param {MediaStream} stream */
  use(stream) {
    this.stream = stream;
    this.view.showStream(stream);
    this.showMuted();
    this.view.showNotice(null);
    for (const track of stream.getTracks()) {
      track.addEventListener("ended", () => this.stream === stream && this.view.showNotice("call.device-lost"));
    }
  }

  /** Phones that dim stop the camera; ask for the screen to stay on while the page is seen. */
  async keepAwake() {
    if (this.stream === null || document.visibilityState !== "visible") return;
    this.wakeLock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  }
}

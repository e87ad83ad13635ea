// @ts-check
/** Receiving the live picture, sound and screen of one interview into two video elements. */

import { Peer } from "./peer.js";
import { Retry } from "./retry.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */

const CHECK_INTERVAL_MS = 2000;
/** Connected but without a byte for so many checks: offer afresh. */
const STALLED_CHECKS = 3;

export class Watcher {
  /**
   * @param {Signaling} signaling
   * @param {HTMLVideoElement} video
   * @param {HTMLVideoElement} screen
   * @param {() => void} onChange of connection or of sound
   */
  constructor(signaling, video, screen, onChange) {
    this.signaling = signaling;
    this.video = video;
    this.screen = screen;
    this.onChange = onChange;
    /** Whether there is somebody to watch; without, losses are not repaired. */
    this.wanted = false;
    /** The browser refused sound until the person asks for it. */
    this.soundRefused = false;
    this.bytes = 0;
    this.stalled = 0;
    /** Until there is room for us. */
    this.retry = new Retry();
    this.peer = new Peer({
      configure: (pc) => this.receiveInto(pc),
      offer: (sdp) => signaling.send({ type: "watch", sdp }),
      restart: (sdp) => signaling.send({ type: "restart", sdp }),
      iceServers: () => signaling.iceServers,
      onState: onChange,
      onLost: (answered) => this.lost(answered),
    });
    window.setInterval(() => void this.check(), CHECK_INTERVAL_MS);
  }

  /** Watch from now on; call again after each `welcome`. */
  start() {
    this.wanted = true;
    this.stalled = 0;
    this.retry.clear();
    void this.peer.renew();
  }

  /**
   * There is no room for us now.
   * @param {number} afterS as the server says
   */
  postpone(afterS) {
    this.retry.begin(afterS, performance.now(), Math.random());
    this.peer.defer();
  }

  /** To be called a few times a second. */
  tick() {
    if (this.retry.due(performance.now())) this.start();
  }

  stop() {
    this.wanted = false;
    this.retry.clear();
    this.peer.close();
    this.video.srcObject = null;
    this.screen.srcObject = null;
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.soundRefused = false;
    this.video.muted = muted;
    void this.play();
  }

  /** @param {RTCPeerConnection} pc */
  receiveInto(pc) {
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
    // The order says which video is which (docs/protocol.md).
    const ofScreen = pc.addTransceiver("video", { direction: "recvonly" });
    const stream = new MediaStream();
    pc.ontrack = ({ track, transceiver }) => {
      if (transceiver === ofScreen) {
        this.screen.srcObject = new MediaStream([track]);
        return;
      }
      stream.addTrack(track);
      if (this.video.srcObject !== stream) this.video.srcObject = stream;
      void this.play();
    };
  }

  async play() {
    try {
      await this.video.play();
    } catch (error) {
      // Autoplay with sound needs a gesture: go on without, and offer a button.
      if (/** @type {DOMException} */ (error).name !== "NotAllowedError" || this.video.muted) return;
      this.soundRefused = true;
      this.video.muted = true;
      await this.video.play().catch(() => {});
    }
    this.onChange();
  }

  /** @param {boolean} answered */
  lost(answered) {
    if (!this.wanted || !this.signaling.online) return; // `welcome` starts again
    if (answered) void this.peer.renew();
    else this.signaling.reconnect();
  }

  async check() {
    const pc = this.peer.pc;
    if (!this.wanted || pc === null || this.peer.state !== "connected") return;
    let bytes = 0;
    for (const report of (await pc.getStats()).values()) {
      if (report.type === "inbound-rtp") bytes += report.bytesReceived;
    }
    this.stalled = bytes === this.bytes ? this.stalled + 1 : 0;
    this.bytes = bytes;
    if (this.stalled >= STALLED_CHECKS) this.start();
  }
}

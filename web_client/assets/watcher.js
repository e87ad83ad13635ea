// @ts-check
/** Receiving the live pictures and voices of one interview, each person's into a video element. */

import { Peer } from "./peer.js";
import { Retry } from "./retry.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */
/** @typedef {{video: HTMLVideoElement, stream: MediaStream}} Person */

const CHECK_INTERVAL_MS = 2000;
/** Connected but without a byte for so many checks: offer afresh. */
const STALLED_CHECKS = 3;

export class Watcher {
  /**
   * @param {Signaling} signaling
   * @param {object} videos in the order in which the server sends to this role (docs/protocol.md)
   * @param {HTMLVideoElement} videos.first the candidate, or the interviewer for the candidate
   * @param {HTMLVideoElement | null} [videos.screen] what the candidate shares
   * @param {HTMLVideoElement | null} [videos.second] for observers, the interviewer
   * @param {() => void} onChange of connection or of sound
   */
  constructor(signaling, videos, onChange) {
    this.signaling = signaling;
    this.videos = videos;
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
      restart: (sdp) => signaling.send({ type: "restart", sdp, connection: "down" }),
      iceServers: () => signaling.iceServers,
      onState: onChange,
      onLost: (answered) => this.lost(answered),
    });
    window.setInterval(() => void this.check(), CHECK_INTERVAL_MS);
  }

  /** Those that sound comes from. */
  get people() {
    return [this.videos.first, this.videos.second].filter((video) => video != null);
  }

  get muted() {
    return this.videos.first.muted;
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
    for (const video of [...this.people, this.videos.screen]) if (video) video.srcObject = null;
  }

  /**
   * Whether there is somebody to watch right now; the connection stays for whoever comes next.
   * @param {boolean} wanted
   */
  want(wanted) {
    if (wanted && this.peer.state !== "connected") return this.start();
    this.wanted = wanted;
    this.stalled = 0;
    this.retry.clear();
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.soundRefused = false;
    for (const video of this.people) {
      video.muted = muted;
      if (video.srcObject) void this.play(video);
    }
    this.onChange();
  }

  /** @param {RTCPeerConnection} pc */
  receiveInto(pc) {
    const { first, screen, second } = this.videos;
    /** @type {Map<RTCRtpTransceiver, Person>} */
    const whose = new Map();
    /** @type {(video: HTMLVideoElement, ...kinds: string[]) => void} */
    const receive = (video, ...kinds) => {
      const person = { video, stream: new MediaStream() };
      for (const kind of kinds) whose.set(pc.addTransceiver(kind, { direction: "recvonly" }), person);
    };
    receive(first, "audio", "video");
    if (screen) receive(screen, "video");
    if (second) receive(second, "audio", "video");
    pc.ontrack = ({ track, transceiver }) => {
      const person = whose.get(transceiver);
      // An element with a track of which nothing comes does not play the other one either.
      if (person && track.muted) track.onunmute = () => this.take(track, person);
      else if (person) this.take(track, person);
    };
  }

  /**
   * @param {MediaStreamTrack} track of which packets come
   * @param {Person} person
   */
  take(track, { video, stream }) {
    track.onunmute = null;
    stream.addTrack(track);
    if (video.srcObject !== stream) video.srcObject = stream;
    if (video === this.videos.screen) return;
    void this.play(video);
  }

  /** @param {HTMLVideoElement} video */
  async play(video) {
    try {
      await video.play();
    } catch (error) {
      // Autoplay with sound needs a gesture: go on without, and offer a button.
      if (/** @type {DOMException} */ (error).name !== "NotAllowedError" || video.muted) return;
      this.soundRefused = true;
      video.muted = true;
      await video.play().catch(() => {});
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

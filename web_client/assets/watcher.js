// @ts-check
/** Receiving the live pictures and voices of one interview, each person's into a video element. */

import { Peer } from "./peer.js";
import { Retry } from "./retry.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */
/**
 * Whom or what a picture is of. `first`: the candidate, or the interviewer for the candidate;
 * `screen`: what the candidate shares; `second`: for observers, the interviewer.
 * @typedef {"first" | "screen" | "second"} Shown
 */

const CHECK_INTERVAL_MS = 2000;
/** Connected but without a byte for so many checks: offer afresh. */
const STALLED_CHECKS = 3;

export class Watcher {
  /**
   * @param {Signaling} signaling
   * @param {Shown[]} shown in the order in which the server sends to this role (docs/protocol.md)
   */
  constructor(signaling, shown) {
    this.signaling = signaling;
    this.shown = shown;
    /** @type {Partial<Record<Shown, HTMLVideoElement>>} */
    this.videos = {};
    /** @type {Partial<Record<Shown, MediaStream>>} of those of whom packets come */
    this.streams = {};
    this.muted = false;
    /** The connection or the sound has changed. */
    this.onChange = () => {};
    /** @type {WebSocket | null} that it is offered on: the server keeps it as long as that */
    this.startedOn = null;
    /** Whether there is somebody to watch; without, losses are not repaired. */
    this.wanted = false;
    /** The browser refused sound until the person asks for it. */
    this.soundRefused = false;
    this.bytes = 0;
    this.stalled = 0;
    /** Until there is room for us. */
    this.retry = new Retry();
    this.peer = new Peer({
      configure: (pc) => this.receive(pc),
      offer: (sdp) => signaling.sendWithHello({ type: "watch", sdp }),
      restart: (sdp) => signaling.send({ type: "restart", sdp, connection: "down" }),
      onceWelcome: (act) => signaling.onceWelcome(act),
      iceServers: () => signaling.iceServers,
      onState: () => this.peerMoved(),
      onLost: (answered) => this.lost(answered),
      onSilent: () => signaling.doubt(),
    });
    signaling.onAnswer.down = (sdp) => void this.peer.answered(sdp);
    window.setInterval(() => void this.check(), CHECK_INTERVAL_MS);
  }

  /** Those that sound comes from. */
  get people() {
    return [this.videos.first, this.videos.second].filter((video) => video !== undefined);
  }

  /**
   * Where the pictures go, those that have come already, too.
   * @param {Partial<Record<Shown, HTMLVideoElement>>} videos
   */
  playOn(videos) {
    this.videos = videos;
    for (const each of this.shown) this.show(each);
  }

  /**
   * Offer along with each `hello`, whether there is somebody to watch or not: the picture is
   * there a round trip earlier, and as soon as there is one.
   */
  offerAtOnce() {
    this.signaling.onOpening = () => {
      if (this.peer.state !== "connected") this.start();
    };
  }

  /** After `welcome` on another socket the server has closed what was offered on the former. */
  welcome() {
    if (this.startedOn !== this.signaling.socket) this.start();
  }

  peerMoved() {
    if (this.peer.state === "unsteady") this.signaling.doubt();
    this.onChange();
  }

  start() {
    this.startedOn = this.signaling.socket;
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
    this.streams = {};
    for (const video of Object.values(this.videos)) video.srcObject = null;
  }

  /**
   * The candidate, who may be away for a while: then nothing comes, and nothing is wrong.
   * @param {import("./protocol.js").InterviewState} state
   */
  follow(state) {
    if (state === "ended") this.stop();
    else this.want(state === "live");
  }

  /**
   * Whether there is somebody to watch right now; the connection stays for whoever comes next.
   * @param {boolean} wanted
   */
  want(wanted) {
    if (this.wanted === wanted) return;
    this.wanted = wanted;
    this.stalled = 0;
    if (!wanted) this.retry.clear();
    else if (!this.peer.isUnderWay && !this.retry.waiting) this.start();
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    this.soundRefused = false;
    for (const video of this.people) {
      video.muted = muted;
      if (video.srcObject) void this.play(video);
    }
    this.onChange();
  }

  /** @param {RTCPeerConnection} pc */
  receive(pc) {
    /** @type {Map<RTCRtpTransceiver, Shown>} */
    const whose = new Map();
    for (const each of this.shown) {
      for (const kind of each === "screen" ? ["video"] : ["audio", "video"]) {
        whose.set(pc.addTransceiver(kind, { direction: "recvonly" }), each);
      }
    }
    this.streams = {};
    pc.ontrack = ({ track, transceiver }) => {
      const shown = whose.get(transceiver);
      // An element with a track of which nothing comes does not play the other one either.
      if (shown && track.muted) track.onunmute = () => this.take(track, shown);
      else if (shown) this.take(track, shown);
    };
  }

  /**
   * @param {MediaStreamTrack} track of which packets come
   * @param {Shown} shown
   */
  take(track, shown) {
    track.onunmute = null;
    (this.streams[shown] ??= new MediaStream()).addTrack(track);
    this.show(shown);
  }

  /** @param {Shown} shown */
  show(shown) {
    const [stream, video] = [this.streams[shown], this.videos[shown]];
    if (!stream || !video) return;
    if (video.srcObject !== stream) video.srcObject = stream;
    if (shown !== "screen") void this.play(video);
  }

  /** @param {HTMLVideoElement} video */
  async play(video) {
    try {
      await video.play();
    } catch (error) {
      // Autoplay with sound needs a gesture: go on without, and offer a button.
      if (/** @type {DOMException} */ (error).name !== "NotAllowedError" || video.muted) return;
      this.soundRefused = this.muted = true;
      video.muted = true;
      await video.play().catch(() => {});
    }
    this.onChange();
  }

  /** @param {boolean} answered */
  lost(answered) {
    if (!this.wanted || !this.signaling.online) return; // the next socket, or `want`, starts again
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

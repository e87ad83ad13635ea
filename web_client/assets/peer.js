// @ts-check
/**
 * One direction of live media over one RTCPeerConnection. When its path is lost it looks for
 * another by an ICE restart, which keeps keys and tracks; when that fails it is made anew.
 *
 * Contract: call `renew()` or `recover()` when signalling is online, give every `answer` to
 * `answered()`, every refusal to `refused()`, and `close()` at the end. The peer calls `onLost`
 * when it must be renewed, and says whether the server had answered: if not, signalling itself
 * is to be doubted, and the peer waits for `recover()`.
 */

import { Silence } from "./silence.js";

/** @typedef {"new" | "connecting" | "connected" | "unsteady" | "lost" | "closed"} PeerState */

/** A connection that lost its path may find another within this time. */
const GRACE_MS = 4000;
/** From offer to connected. */
const CONNECT_LIMIT_MS = 10_000;
/** The server sends several times a second. Browsers say so only after five seconds of silence. */
const SILENT_MS = 500;

export class Peer {
  /**
   * @param {object} options
   * @param {(pc: RTCPeerConnection) => void} options.configure add tracks or transceivers
   * @param {(sdp: string) => boolean} options.offer send the offer; false when it cannot be sent
   * @param {(sdp: string) => boolean} options.restart send it again, with other ICE credentials
   * @param {(act: () => void) => void} options.onceWelcome the server has told its relays
   * @param {() => RTCIceServer[]} options.iceServers those
   * @param {(state: PeerState) => void} options.onState
   * @param {(answered: boolean) => void} options.onLost
   * @param {() => void} options.onSilent nothing comes any more
   */
  constructor(options) {
    this.options = options;
    /** @type {RTCPeerConnection | null} */
    this.pc = null;
    /** @type {PeerState} */
    this.state = "new";
    /** Whether an ICE restart was begun since the connection was last well. */
    this.restarting = false;
    /** Once its own description is set: only then it can take an answer. */
    this.described = Promise.resolve();
    this.timer = 0;
    this.silence = new Silence();
    window.setInterval(() => void this.listen(), SILENT_MS);
    window.addEventListener("online", () => {
      if (this.isAnswered && !this.restarting) void this.restart();
    });
  }

  /** Whether it is connected, or may soon be. */
  get isUnderWay() {
    return ["connecting", "connected", "unsteady"].includes(this.state);
  }

  get isAnswered() {
    return this.pc?.remoteDescription != null;
  }

  /** Signalling is back: go on with the connection that there is, or make one. */
  async recover() {
    await (this.isAnswered ? this.restart() : this.renew());
  }

  /** Drop what there is and offer afresh: works after any kind of loss, server restarts included. */
  async renew() {
    this.release();
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc = pc;
    this.enter("connecting");
    pc.onconnectionstatechange = () => {
      if (this.pc === pc) this.follow(pc.connectionState);
    };
    try {
      this.options.configure(pc);
      // No waiting for candidates: the server is ICE-lite and learns our address from our
      // connectivity checks as peer-reflexive (RFC 8445 7.3.1.3).
      const offer = await pc.createOffer();
      if (this.pc !== pc) return;
      this.described = this.describe(pc, offer);
      if (!this.options.offer(offer.sdp ?? "")) return this.lose();
      await this.described;
    } catch (error) {
      console.warn("no offer could be made:", error);
      if (this.pc === pc) this.lose();
    }
  }

  /**
   * Candidates are gathered from then on, so the relays must be known.
   * @param {RTCPeerConnection} pc
   * @param {RTCSessionDescriptionInit} offer that may have been sent already
   * @returns {Promise<void>}
   */
  describe(pc, offer) {
    return new Promise((resolve, reject) => {
      this.options.onceWelcome(() => void this.describeNow(pc, offer).then(resolve, reject));
    });
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {RTCSessionDescriptionInit} offer
   */
  async describeNow(pc, offer) {
    if (this.pc !== pc) return;
    pc.setConfiguration({ ...pc.getConfiguration(), iceServers: this.options.iceServers() });
    await pc.setLocalDescription(offer);
  }

  /** Another path for the same connection (RFC 8445 9); what flows goes on meanwhile. */
  async restart() {
    const pc = /** @type {RTCPeerConnection} */ (this.pc);
    this.restarting = true;
    if (this.state !== "connected") this.enter("unsteady");
    try {
      pc.setConfiguration({ ...pc.getConfiguration(), iceServers: this.options.iceServers() });
      pc.restartIce();
      await pc.setLocalDescription();
    } catch (error) {
      console.warn("no ICE restart could be offered:", error);
      if (this.pc === pc) this.lose();
      return;
    }
    const sdp = pc.localDescription?.sdp;
    if (this.pc !== pc || sdp === undefined) return;
    // Without signalling there is nothing to hurry for: `recover` comes with it.
    if (!this.options.restart(sdp)) window.clearTimeout(this.timer);
  }

  /** @param {string} sdp */
  async answered(sdp) {
    const pc = this.pc;
    await this.described.catch(() => {}); // `renew` sees to that
    if (pc === null || this.pc !== pc || pc.signalingState !== "have-local-offer") return;
    try {
      await pc.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      console.warn("answer not accepted:", error);
      if (this.pc === pc) this.lose();
      return;
    }
    if (this.pc !== pc || !this.restarting) return;
    // The browser need not change its state for a restart whose former path still works.
    if (pc.connectionState === "connected") this.follow("connected");
    else this.enter("unsteady");
  }

  /** The server refused what was sent: a restart, perhaps, of a connection that it has given up. */
  refused() {
    if (this.restarting) void this.renew();
  }

  /** The server has no room for it now: wait for `renew()`. */
  defer() {
    this.release();
    this.enter("lost");
  }

  close() {
    this.release();
    this.enter("closed");
  }

  async listen() {
    const { pc } = this;
    if (pc === null || this.state !== "connected") return this.silence.forget();
    if (this.silence.begins((await pc.getStats()).values()) && this.pc === pc) this.options.onSilent();
  }

  /** @param {RTCPeerConnectionState} state */
  follow(state) {
    switch (state) {
      case "connected":
        if (this.pc?.signalingState === "stable") this.restarting = false;
        this.enter("connected");
        break;
      case "disconnected":
      case "failed":
        this.failing(state === "failed");
        break;
      case "closed":
        this.lose();
        break;
    }
  }

  /** @param {boolean} failed for good, as far as the browser is concerned */
  failing(failed) {
    if (!this.isAnswered || this.state === "connecting") return this.lose();
    if (this.restarting) {
      // A restart that was answered has been tried; one that was not waits for signalling.
      if (failed && this.pc?.signalingState === "stable") this.lose();
      else if (this.state === "connected") this.enter("unsteady");
      return;
    }
    this.enter("unsteady");
    void this.restart();
  }

  /** @param {PeerState} state */
  enter(state) {
    window.clearTimeout(this.timer);
    this.state = state;
    const limit = { connecting: CONNECT_LIMIT_MS, unsteady: GRACE_MS }[/** @type {string} */ (state)];
    if (limit !== undefined) this.timer = window.setTimeout(() => this.expire(), limit);
    this.options.onState(state);
  }

  /** The time is up: for an answered restart that found no path, or for signalling. */
  expire() {
    if (this.restarting && this.pc?.signalingState !== "stable") this.options.onLost(false);
    else this.lose();
  }

  lose() {
    const answered = this.isAnswered && this.pc?.signalingState === "stable";
    this.release();
    this.enter("lost");
    this.options.onLost(answered);
  }

  release() {
    window.clearTimeout(this.timer);
    this.restarting = false;
    if (this.pc === null) return;
    this.pc.onconnectionstatechange = null;
    this.pc.ontrack = null;
    this.pc.close();
    this.pc = null;
  }
}

// @ts-check
/**
 * One direction of live media over one RTCPeerConnection, made anew whenever it is lost.
 *
 * Contract: call `renew()` when signalling is online, give every `answer` to `answered()`,
 * and `close()` at the end. The peer calls `onLost` when it must be renewed, and says
 * whether the server had answered: if not, signalling itself is to be doubted.
 */

/** @typedef {"new" | "connecting" | "connected" | "unsteady" | "lost" | "closed"} PeerState */

/** A connection that lost its path may find it again by itself within this time. */
const GRACE_MS = 4000;
/** From offer to connected. */
const CONNECT_LIMIT_MS = 10_000;

export class Peer {
  /**
   * @param {object} options
   * @param {(pc: RTCPeerConnection) => void} options.configure add tracks or transceivers
   * @param {(sdp: string) => boolean} options.offer send the offer; false when it cannot be sent
   * @param {(state: PeerState) => void} options.onState
   * @param {(answered: boolean) => void} options.onLost
   */
  constructor(options) {
    this.options = options;
    /** @type {RTCPeerConnection | null} */
    this.pc = null;
    /** @type {PeerState} */
    this.state = "new";
    this.timer = 0;
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
      await pc.setLocalDescription();
    } catch (error) {
      console.warn("no offer could be made:", error);
    }
    if (this.pc !== pc) return;
    const sdp = pc.localDescription?.sdp;
    if (sdp === undefined || !this.options.offer(sdp)) this.lose();
  }

  /** @param {string} sdp */
  async answered(sdp) {
    const pc = this.pc;
    if (pc === null || pc.signalingState !== "have-local-offer") return;
    try {
      await pc.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      console.warn("answer not accepted:", error);
      if (this.pc === pc) this.lose();
    }
  }

  close() {
    this.release();
    this.enter("closed");
  }

  /** @param {RTCPeerConnectionState} state */
  follow(state) {
    switch (state) {
      case "connected":
        this.enter("connected");
        break;
      case "disconnected":
        this.enter("unsteady");
        break;
      case "failed":
      case "closed":
        this.lose();
        break;
    }
  }

  /** @param {PeerState} state */
  enter(state) {
    window.clearTimeout(this.timer);
    this.state = state;
    const limit = { connecting: CONNECT_LIMIT_MS, unsteady: GRACE_MS }[/** @type {string} */ (state)];
    if (limit !== undefined) this.timer = window.setTimeout(() => this.lose(), limit);
    this.options.onState(state);
  }

  lose() {
    const answered = this.pc?.remoteDescription != null;
    this.release();
    this.enter("lost");
    this.options.onLost(answered);
  }

  release() {
    window.clearTimeout(this.timer);
    if (this.pc === null) return;
    this.pc.onconnectionstatechange = null;
    this.pc.ontrack = null;
    this.pc.close();
    this.pc = null;
  }
}

// @ts-check
/** The interview on the candidate's side: speaking, a screen to share, an interviewer to see. */

import { Call } from "./call.js";
import { CandidateView } from "./candidate_view.js";
import { element } from "./dom.js";
import { language } from "./i18n.js";
import { limitScreen, sendScreen } from "./publisher.js";
import { ScreenShare, canShareScreen } from "./screen_share.js";
import { NOTICE_VERSION } from "./strings.js";
import { Watcher } from "./watcher.js";

/** @typedef {import("./protocol.js").ServerMessage} ServerMessage */

export class CandidateCall extends Call {
  /**
   * @param {string} token
   * @param {import("./call.js").CallHandlers} handlers
   */
  constructor(token, handlers) {
    super(token, handlers);
    /** @type {number | null} */
    this.startedS = null;
    this.interviewerThere = false;
    this.screen = new ScreenShare(() => void this.screenMoved());
    this.watcher = new Watcher(this.signaling, ["first"]);
    this.watcher.playOn({ first: element("interviewer", HTMLVideoElement) });
    this.watcher.onChange = () => this.showInterviewer();
    this.sees = new CandidateView({
      onShare: () => void this.share(),
      onSound: () => this.watcher.mute(false),
    });
  }

  get notice() {
    return `${NOTICE_VERSION}/${language()}`;
  }

  stop() {
    this.interviewer(false);
    this.watcher.stop();
    this.screen.stop();
    super.stop();
  }

  /** @param {ServerMessage} message */
  receive(message) {
    super.receive(message);
    switch (message.type) {
      case "welcome":
        this.watcher.stop(); // the server has closed it with the former socket
        this.sees.showCamera(true); // until told otherwise
        break;
      case "recording":
        this.sees.showRecording(message.active);
        break;
      case "state":
        this.startedS = message.started_s ?? this.startedS;
        if (message.state === "ended" && this.peer.state === "connected") this.over("ended");
        break;
      case "interviewer":
        this.interviewer(message.active);
        break;
      case "camera":
        if (message.role === "interviewer") this.sees.showCamera(message.active);
        break;
      case "error":
        if (message.connection === "down") this.watcher.peer.refused();
        break;
    }
  }

  /** @param {boolean} there */
  interviewer(there) {
    if (there !== this.interviewerThere) {
      this.interviewerThere = there;
      this.sees.tell(there ? "call.interviewer-came" : "call.interviewer-left");
    }
    this.watcher.want(there);
    this.showInterviewer();
  }

  showInterviewer() {
    const there = this.interviewerThere && this.watcher.peer.state === "connected";
    this.sees.showInterviewer(there, this.watcher.soundRefused);
  }

  /** @param {string} sdp */
  async answered(sdp) {
    await super.answered(sdp);
    if (this.screenSender && this.screen.track) await limitScreen(this.screenSender);
  }

  /** @param {RTCPeerConnection} pc */
  configure(pc) {
    super.configure(pc);
    this.screenSender = canShareScreen() ? sendScreen(pc, this.screen.track) : null;
  }

  signalingMoved() {
    // Without signalling nothing is known about the recording; media may still flow.
    if (!this.signaling.online) this.sees.showRecording(false);
    super.signalingMoved();
  }

  tick() {
    super.tick();
    const elapsed = this.startedS === null ? 0 : this.signaling.serverNowS() - this.startedS;
    this.sees.showElapsed(elapsed);
  }

  async share() {
    if (this.screen.track !== null) return this.screen.stop();
    try {
      await this.screen.start();
    } catch (error) {
      console.warn(error);
      this.view.showNotice("call.share-failed");
    }
  }

  async screenMoved() {
    const { track } = this.screen;
    this.sees.showSharing(track !== null);
    if (track !== null) this.view.forgetShareFailed();
    await this.screenSender?.replaceTrack(track);
    if (this.screenSender && track) await limitScreen(this.screenSender);
    // Browsers say no RTCP goodbye then, so the server would have to wait for silence.
    if (track === null) this.signaling.send({ type: "unshare" });
  }
}

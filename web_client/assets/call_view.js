// @ts-check
/** What the candidate sees and presses during the interview. */

import { byId, element } from "./dom.js";
import { setText } from "./i18n.js";
import { clock } from "./format.js";

/** @typedef {"connecting" | "connected" | "weak" | "reconnecting" | "offline"} LinkState */

const TONE = { connecting: "wait", connected: "good", weak: "wait", reconnecting: "bad", offline: "bad" };

export class CallView {
  /**
   * @param {object} handlers
   * @param {(kind: "audio" | "video") => void} handlers.onToggle
   * @param {() => void} handlers.onFlip
   * @param {() => void} handlers.onLeave
   * @param {() => void} handlers.onChooseAgain
   */
  constructor(handlers) {
    this.video = element("self", HTMLVideoElement);
    const dialog = element("leave-dialog", HTMLDialogElement);
    byId("toggle-microphone").addEventListener("click", () => handlers.onToggle("audio"));
    byId("toggle-camera").addEventListener("click", () => handlers.onToggle("video"));
    byId("flip").addEventListener("click", handlers.onFlip);
    byId("leave").addEventListener("click", () => {
      dialog.returnValue = "";
      dialog.showModal();
    });
    dialog.addEventListener("close", () => dialog.returnValue === "leave" && handlers.onLeave());
    byId("call-notice-act").addEventListener("click", handlers.onChooseAgain);
  }

  /** @param {MediaStream | null} stream */
  showStream(stream) {
    this.video.srcObject = stream;
    const facing = stream?.getVideoTracks()[0]?.getSettings().facingMode;
    this.video.classList.toggle("mirrored", facing !== "environment");
    // Only phones and tablets report which way a camera looks.
    byId("toggle-camera").hidden = stream?.getVideoTracks().length === 0;
    byId("toggle-microphone").hidden = stream?.getAudioTracks().length === 0;
    byId("flip").hidden = facing === undefined || !matchMedia("(pointer: coarse)").matches;
  }

  /** @param {MediaStream | null} stream */
  showMuted(stream) {
    const on = (/** @type {string} */ kind) =>
      stream?.getTracks().some((track) => track.kind === kind && track.enabled) ?? false;
    setText(byId("toggle-microphone-text"), on("audio") ? "call.mute" : "call.unmute");
    setText(byId("toggle-camera-text"), on("video") ? "call.stop-camera" : "call.start-camera");
    byId("toggle-microphone").dataset.on = String(on("audio"));
    byId("toggle-camera").dataset.on = String(on("video"));
    byId("microphone-off").hidden = on("audio");
    byId("camera-off").hidden = on("video");
  }

  /** @param {boolean} lost whether a device was unplugged or taken away */
  showDeviceLost(lost) {
    byId("call-notice").hidden = !lost;
    setText(byId("call-notice-text"), "call.device-lost");
  }

  /** @param {boolean} active */
  showRecording(active) {
    byId("recording").dataset.active = String(active);
    setText(byId("recording-text"), active ? "call.recording" : "call.not-recording");
  }

  /** @param {LinkState} state */
  showLink(state) {
    const pill = byId("link-state");
    pill.dataset.tone = TONE[state];
    setText(pill, `link.${state}`);
  }

  /** @param {number} seconds */
  showElapsed(seconds) {
    byId("elapsed").textContent = clock(seconds);
  }
}

// @ts-check
/** What everybody who speaks sees of themselves, and presses. */

import { byId, element } from "./dom.js";
import { setText } from "./i18n.js";

/** @typedef {"connecting" | "connected" | "weak" | "reconnecting" | "offline" | "waiting"} LinkState */

const TONE = { connecting: "wait", connected: "good", weak: "wait", reconnecting: "bad", offline: "bad", waiting: "wait" };

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

  /** @param {"call.device-lost" | "call.share-failed" | null} trouble */
  showNotice(trouble) {
    byId("call-notice").hidden = trouble === null;
    byId("call-notice-act").hidden = trouble !== "call.device-lost";
    if (trouble) setText(byId("call-notice-text"), trouble);
  }

  /**
   * @param {"busy" | "restarting" | null} reason why the server does not take us now
   * @param {number | null} leftS until the next try, where that is known
   */
  showWait(reason, leftS) {
    byId("call-wait").hidden = reason === null;
    if (reason !== null) setText(byId("call-wait-text"), `call.${reason}`);
    byId("call-wait-left").hidden = leftS === null;
    setText(byId("call-wait-left"), "call.retry-in", { seconds: leftS ?? 0 });
  }

  /** A screen is shared after all. */
  forgetShareFailed() {
    if (byId("call-notice-act").hidden) this.showNotice(null);
  }

  /** @param {LinkState} state */
  showLink(state) {
    const pill = byId("link-state");
    pill.dataset.tone = TONE[state];
    setText(pill, `link.${state}`);
  }
}

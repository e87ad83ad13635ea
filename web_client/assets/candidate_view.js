// @ts-check
/** What the candidate sees of the interview beside their own picture. */

import { byId } from "./dom.js";
import { clock } from "./format.js";
import { setText } from "./i18n.js";
import { Pictures } from "./pictures.js";
import { canShareScreen } from "./screen_share.js";

export class CandidateView {
  /**
   * @param {object} handlers
   * @param {() => void} handlers.onShare
   * @param {() => void} handlers.onSound
   */
  constructor(handlers) {
    byId("share").addEventListener("click", handlers.onShare);
    byId("share").hidden = !canShareScreen();
    byId("sound-on").addEventListener("click", handlers.onSound);
    this.pictures = new Pictures({ interviewer: byId("picture-interviewer"), self: byId("picture-self") });
    this.pictures.show("self");
  }

  /** @param {boolean} sharing the screen */
  showSharing(sharing) {
    byId("share").setAttribute("aria-pressed", String(sharing));
    setText(byId("share-text"), sharing ? "call.stop-sharing" : "call.share");
    byId("screen-shared").hidden = !sharing;
  }

  /** @param {boolean} active */
  showRecording(active) {
    byId("recording").dataset.active = String(active);
    setText(byId("recording-text"), active ? "call.recording" : "call.not-recording");
  }

  /**
   * @param {boolean} there
   * @param {boolean} silenced the browser does not play their voice yet
   */
  showInterviewer(there, silenced) {
    if (there) this.pictures.show("interviewer", "self");
    else this.pictures.show("self");
    byId("picture-self").dataset.named = String(there);
    byId("sound-on").hidden = !(there && silenced);
  }

  /** @param {boolean} on whether the interviewer's camera is */
  showCamera(on) {
    this.pictures.showCamera("interviewer", on);
  }

  /** @param {"call.interviewer-came" | "call.interviewer-left"} text for those who don't see it */
  tell(text) {
    setText(byId("interviewer-status"), text);
  }

  /** @param {number} seconds */
  showElapsed(seconds) {
    byId("elapsed").textContent = clock(seconds);
  }
}

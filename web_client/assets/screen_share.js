// @ts-check
/** The candidate's screen: asking for one, and what is shared right now. */

import { SCREEN_MAX_FPS } from "./publisher.js";

/** Phones have no such thing. */
export function canShareScreen() {
  return typeof navigator.mediaDevices?.getDisplayMedia === "function";
}

export class ScreenShare {
  /** @param {() => void} onChange sharing has begun or ended, also by the browser's own button */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {MediaStreamTrack | null} */
    this.track = null;
  }

  /**
   * Ask the person which screen, window or tab; a refusal is an answer, too.
   * @throws {DOMException} when the system gives none
   */
  async start() {
    const stream = await this.ask();
    const track = stream?.getVideoTracks()[0] ?? null;
    if (track === null) return;
    track.contentHint = "detail"; // sharp before smooth (MediaStreamTrack Content Hints 3.2)
    track.addEventListener("ended", () => this.track === track && this.stop());
    this.stop();
    this.track = track;
    this.onChange();
  }

  /** @returns {Promise<MediaStream | null>} null: the person would rather not */
  async ask() {
    try {
      return await navigator.mediaDevices.getDisplayMedia({
        video: { frameRate: { ideal: SCREEN_MAX_FPS, max: SCREEN_MAX_FPS } },
      });
    } catch (error) {
      if (/** @type {DOMException} */ (error).name === "NotAllowedError") return null;
      throw error;
    }
  }

  stop() {
    if (this.track === null) return;
    this.track.stop();
    this.track = null;
    this.onChange();
  }
}

// @ts-check
/**
 * What is wrong with a replay, or waited for. Over the picture's edge as long as there is a
 * picture; in its place where playing can't go on.
 */

import { byId } from "./dom.js";
import { setText } from "./i18n.js";

/**
 * @typedef {import("./i18n.js").Key} Key
 * @typedef {{title: Key, text: Key | null}} Fault what is wrong, in a few words and in more
 */

/** A wait that is shorter is not worth a word. */
const SHORT_MS = 400;

export class ReplayNote {
  /**
   * @param {HTMLVideoElement} video
   * @param {AbortSignal} signal
   */
  constructor(video, signal) {
    this.video = video;
    /** @type {Fault | null} */
    this.fault = null;
    /** Whether the newest part of a running recording is waited for. */
    this.behind = false;
    this.timer = 0;
    for (const event of ["loadstart", "waiting", "seeking", "playing", "seeked", "canplay", "pause", "emptied"]) {
      video.addEventListener(event, () => this.look(), { signal });
    }
    signal.addEventListener("abort", () => window.clearTimeout(this.timer));
    this.show();
  }

  /**
   * @param {Key} title
   * @param {Key | null} [text] for where there is room
   */
  say(title, text = null) {
    this.fault = { title, text };
    this.show();
  }

  clear() {
    this.fault = null;
    this.show();
  }

  /** @param {boolean} waits for the newest part */
  await(waits) {
    this.behind = waits;
    this.show();
  }

  /** Playing goes on at once mostly: look again before anything is said of a wait. */
  look() {
    window.clearTimeout(this.timer);
    if (this.plays) this.show();
    else this.timer = window.setTimeout(() => this.show(), SHORT_MS);
  }

  /** Whether there is something to be seen and heard at this position. */
  get plays() {
    return this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && !this.stalls;
  }

  get stalls() {
    const { readyState, paused, seeking, ended, src } = this.video;
    const least = paused ? HTMLMediaElement.HAVE_CURRENT_DATA : HTMLMediaElement.HAVE_FUTURE_DATA;
    return src !== "" && (seeking || (!ended && readyState < least));
  }

  show() {
    const waits = this.behind ? "replay.newest" : this.stalls ? "replay.loading" : null;
    const title = this.fault?.title ?? waits;
    const note = byId("replay-note");
    note.hidden = title === null;
    // There is nothing to be looked at: all of the frame is free for it.
    const covers = this.fault !== null && !this.plays;
    note.className = covers ? "frame-note" : "badge top";
    note.dataset.waits = String(this.fault === null);
    if (title !== null) setText(byId("replay-note-title"), title);
    const text = (covers && this.fault?.text) || null;
    byId("replay-note-text").hidden = text === null;
    if (text !== null) setText(byId("replay-note-text"), text);
  }
}

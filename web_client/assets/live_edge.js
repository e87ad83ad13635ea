// @ts-check
/**
 * The newest end of a recording that still grows: how far before it one sees it live, and when
 * playing waits for more. Who has played all that is known waits until there is enough to play on
 * for a while, and stays a little further behind from then on, so as not to stumble from part to part.
 */

/** How far before the end of what is known "live" is at first: the next news come in time. */
export const LIVE_S = 4;
/** So much further back with each stall, */
const STEP_S = 1.25;
/** but no further: with what the server holds back it stays below ten seconds. */
export const FURTHEST_S = 6.5;
/** Nearer to the end than this, a stall is for want of more. */
const SHORT_S = 1;

/** @typedef {Pick<import("./replay.js").ReplayIndex, "state" | "duration_s">} Growing */

export class LiveEdge {
  /**
   * @param {Pick<HTMLVideoElement, "currentTime" | "paused" | "play" | "pause">} video
   * @param {() => void} onWaiting it has begun to wait, or ended
   */
  constructor(video, onWaiting) {
    this.video = video;
    this.onWaiting = onWaiting;
    this.holdS = LIVE_S;
    /** Playing is wanted, and goes on once there is more. */
    this.waiting = false;
  }

  /**
   * Where to seek to see it live.
   * @param {Growing} index
   */
  place({ duration_s }) {
    return Math.max(0, duration_s - this.holdS);
  }

  /**
   * Playing has come to the end of what is loaded.
   * @param {Growing} index
   */
  stalled({ state, duration_s }) {
    if (state !== "recording" || this.waiting || this.video.paused) return;
    if (duration_s - this.video.currentTime > SHORT_S) return;
    this.holdS = Math.min(FURTHEST_S, this.holdS + STEP_S);
    this.waiting = true;
    this.video.pause();
    this.onWaiting();
  }

  /**
   * More of it is known.
   * @param {Growing} index
   */
  grown({ state, duration_s }) {
    const enough = state !== "recording" || duration_s - this.video.currentTime >= this.holdS;
    if (!this.waiting || !enough) return;
    this.release();
    this.video.play().catch((error) => console.warn(error));
  }

  /** Somebody does something else. */
  release() {
    if (!this.waiting) return;
    this.waiting = false;
    this.onWaiting();
  }
}

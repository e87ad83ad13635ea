// @ts-check
/**
 * Replaying where there are no Media Source Extensions (older iPhones): the browser's own player
 * of HTTP Live Streaming, whose playlist has the recording's time.
 */

import { Player } from "./player.js";

/** @typedef {import("./replay.js").ReplayIndex} ReplayIndex */
/** @typedef {import("./replay.js").Span} Span */

const HLS = "application/vnd.apple.mpegurl";
/** How long a picture lasts that nobody has measured. */
const USUAL_FRAME_S = 1 / 30;

/**
 * What plays a recording: `Player`, or where that can't be had, `NativePlayer`.
 * @param {import("./player.js").PlayerOptions & {address: string}} options
 * @returns {Player | NativePlayer}
 */
export function makePlayer(options) {
  return Player.isPossible ? new Player(options) : new NativePlayer(options);
}

export class NativePlayer {
  /**
   * @param {object} options
   * @param {HTMLVideoElement} options.video
   * @param {ReplayIndex} options.index
   * @param {string} options.address of the playlist
   * @param {(error: unknown) => boolean} options.onError
   */
  constructor({ video, index, address, onError }) {
    this.video = video;
    this.index = index;
    this.address = address;
    this.onError = onError;
    this.closing = new AbortController();
  }

  /**
   * @param {number} [at] where to begin
   * @returns {boolean} whether this browser can play the recording
   */
  open(at = 0) {
    // VP8 is in no playlist.
    const playable = this.index.inits.every(({ mime }) => !mime.includes("webm"));
    if (!playable || !this.video.canPlayType(HLS)) return false;
    const { signal } = this.closing;
    this.video.addEventListener("error", () => this.onError(this.video.error), { signal });
    if (at > 0) this.video.addEventListener("loadedmetadata", () => this.seek(at), { once: true, signal });
    this.video.src = this.address;
    return true;
  }

  close() {
    this.closing.abort();
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** @param {ReplayIndex} index which the browser finds out by itself, from the playlist */
  grow(index) {
    this.index = index;
  }

  /** @param {number} time */
  seek(time) {
    this.video.currentTime = Math.min(Math.max(time, 0), this.index.duration_s - 0.01);
  }

  /** @param {1 | -1} direction */
  step(direction) {
    this.video.pause();
    this.video.currentTime += direction * USUAL_FRAME_S;
  }

  /** @returns {Span[]} */
  buffered() {
    const { buffered } = this.video;
    return Array.from({ length: buffered.length }, (_, n) => ({ start_s: buffered.start(n), end_s: buffered.end(n) }));
  }
}

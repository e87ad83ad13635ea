// @ts-check
/** What is replayed beside the recorded candidate, whose position and pace it follows. */

import { makePlayer } from "./native_player.js";
import { ofSide, spansOf } from "./replay.js";

/** @typedef {import("./replay.js").ReplayIndex} ReplayIndex */
/** @typedef {import("./replay.js").Side} Side */
/** @typedef {`${Side}/init` | `${Side}/fragment`} SidePart */

/** Further from the candidate's position it is moved there; */
const JUMP_S = 0.25;
/** nearer it is only made a little faster or slower, which nobody hears, until it is this near. */
const NEAR_S = 0.02;
const MOST_FASTER = 0.05;
/** So long before it begins it waits, loaded, at its beginning. */
const PREPARE_S = 10;

export class SideReplay {
  /**
   * @param {object} options
   * @param {Side} options.side
   * @param {HTMLVideoElement} options.video
   * @param {HTMLVideoElement} options.candidate
   * @param {ReplayIndex} options.index
   * @param {(part: SidePart, number: number, last: number, signal: AbortSignal) => Promise<ArrayBuffer>} options.load
   * @param {string} options.address for a player of HLS
   * @param {(there: boolean) => void} options.onThere whether there is something at this position
   */
  constructor({ side, video, candidate, index, load, address, onThere }) {
    this.side = side;
    this.video = video;
    this.candidate = candidate;
    this.onThere = onThere;
    this.opened = false;
    this.closing = new AbortController();
    this.player = makePlayer({
      video,
      address,
      index: ofSide(index, side),
      load: (part, number, last, signal) => load(`${side}/${part}`, number, last, signal),
      onError: (error) => {
        console.warn(error);
        return true;
      },
      follows: true,
    });
    this.spans = spansOf(this.player.index.fragments);
    this.there = false;
    const { signal } = this.closing;
    for (const event of ["loadedmetadata", "timeupdate", "seeking", "seeked", "play", "pause", "ended", "ratechange"]) {
      candidate.addEventListener(event, () => this.follow(), { signal });
    }
  }

  close() {
    this.closing.abort();
    if (this.opened) this.player.close();
    this.onThere(false);
  }

  /** @param {ReplayIndex} index */
  grow(index) {
    this.player.grow(ofSide(index, this.side));
    this.spans = spansOf(this.player.index.fragments);
    this.follow();
  }

  follow() {
    if (this.candidate.readyState === 0) return; // it is not yet where it begins
    const time = this.candidate.currentTime;
    const span = this.spans.find(({ end_s }) => time < end_s);
    if (!span || time < span.start_s - PREPARE_S) return this.show(false);
    if (!this.opened) this.opened = this.player.open();
    if (!this.opened) return;
    const there = time >= span.start_s;
    this.approach(there ? time : span.start_s);
    this.show(there);
  }

  /** @param {number} target where to be right now */
  approach(target) {
    const late = target - this.video.currentTime;
    if (Math.abs(late) > JUMP_S) this.video.currentTime = target;
    this.video.playbackRate = this.candidate.playbackRate * pacing(late);
  }

  /** @param {boolean} there */
  show(there) {
    const plays = there && !this.candidate.paused && !this.candidate.ended;
    if (plays && this.video.paused) this.video.play().catch((error) => console.warn(error));
    if (!plays) this.video.pause();
    if (there !== this.there) this.onThere(there);
    this.there = there;
  }
}

/**
 * How much faster than the candidate to play, to come nearer within about a second.
 * @param {number} late seconds behind
 */
export function pacing(late) {
  if (Math.abs(late) < NEAR_S || Math.abs(late) > JUMP_S) return 1;
  return 1 + Math.min(MOST_FASTER, Math.max(-MOST_FASTER, late / 2));
}

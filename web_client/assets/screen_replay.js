// @ts-check
/** The recorded screen beside the recorded camera, whose position and pace it follows. */

import { Player } from "./player.js";
import { ofScreen, sharedSpans } from "./replay.js";

/** @typedef {import("./replay.js").ReplayIndex} ReplayIndex */

/** Further from the camera's position it is moved there. */
const DRIFT_S = 0.25;
/** So long before it is shared it waits, loaded, where it begins. */
const PREPARE_S = 10;

export class ScreenReplay {
  /**
   * @param {object} options
   * @param {HTMLVideoElement} options.video
   * @param {HTMLVideoElement} options.camera
   * @param {ReplayIndex} options.index
   * @param {(part: "screen/init" | "screen/fragment", number: number, signal: AbortSignal) => Promise<ArrayBuffer>} options.load
   * @param {(shared: boolean) => void} options.onShared whether there is a screen at this position
   */
  constructor({ video, camera, index, load, onShared }) {
    this.video = video;
    this.camera = camera;
    this.onShared = onShared;
    this.opened = false;
    this.closing = new AbortController();
    this.player = new Player({
      video,
      index: ofScreen(index),
      load: (part, number, signal) => load(`screen/${part}`, number, signal),
      onError: (error) => console.warn(error),
      follows: true,
    });
    this.spans = sharedSpans(this.player.index.fragments);
    this.shared = false;
    const { signal } = this.closing;
    for (const event of ["timeupdate", "seeking", "seeked", "play", "pause", "ended", "ratechange"]) {
      camera.addEventListener(event, () => this.follow(), { signal });
    }
  }

  close() {
    this.closing.abort();
    if (this.opened) this.player.close();
    this.onShared(false);
  }

  /** @param {ReplayIndex} index */
  grow(index) {
    this.player.grow(ofScreen(index));
    this.spans = sharedSpans(this.player.index.fragments);
    this.follow();
  }

  follow() {
    const time = this.camera.currentTime;
    const span = this.spans.find(({ end_s }) => time < end_s);
    if (!span || time < span.start_s - PREPARE_S) return this.show(false);
    if (!this.opened) this.opened = this.player.open();
    if (!this.opened) return;
    const shared = time >= span.start_s;
    const target = shared ? time : span.start_s;
    if (Math.abs(this.video.currentTime - target) > DRIFT_S) this.video.currentTime = target;
    this.video.playbackRate = this.camera.playbackRate;
    this.show(shared);
  }

  /** @param {boolean} shared */
  show(shared) {
    const plays = shared && !this.camera.paused && !this.camera.ended;
    if (plays && this.video.paused) this.video.play().catch((error) => console.warn(error));
    if (!plays) this.video.pause();
    if (shared !== this.shared) this.onShared(shared);
    this.shared = shared;
  }
}

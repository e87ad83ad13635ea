// @ts-check
/** How loud a replay is: one slider and one button for all who are heard. */

import { byId, element, iconHref } from "./dom.js";
import { setLabel } from "./i18n.js";

const STEP = 0.1;

export class ReplaySound {
  /**
   * @param {readonly HTMLVideoElement[]} heard
   * @param {AbortSignal} signal
   */
  constructor(heard, signal) {
    this.heard = heard;
    this.slider = element("volume", HTMLInputElement);
    this.muted = false;
    this.slider.addEventListener("input", () => this.set(Number(this.slider.value)), { signal });
    byId("mute").addEventListener("click", () => this.toggle(), { signal });
    this.show();
  }

  toggle() {
    this.muted = !this.muted;
    this.show();
  }

  /** @param {number} volume 0..1 */
  set(volume) {
    this.slider.value = String(Math.min(1, Math.max(0, volume)));
    this.muted = false;
    this.show();
  }

  /** @param {1 | -1} direction */
  step(direction) {
    this.set(Number(this.slider.value) + direction * STEP);
  }

  show() {
    const volume = Number(this.slider.value);
    const silent = this.muted || volume === 0;
    for (const video of this.heard) {
      video.volume = volume;
      video.muted = silent;
    }
    byId("mute").setAttribute("aria-pressed", String(silent));
    setLabel(byId("mute"), "aria-label", silent ? "replay.unmute" : "replay.mute");
    setLabel(byId("mute"), "title", silent ? "replay.unmute" : "replay.mute");
    element("mute-icon", SVGUseElement).setAttribute("href", iconHref(silent ? "muted" : "speaker"));
  }
}

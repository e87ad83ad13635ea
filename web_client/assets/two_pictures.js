// @ts-check
/** A frame with the shared screen large and the camera small in its corner, or the other way. */

/** @typedef {"screen" | "camera"} Picture */

export class TwoPictures {
  /**
   * @param {HTMLElement} frame holds both videos; the style sheet goes by its `data-large`
   * @param {HTMLButtonElement} swap lies over the small picture
   * @param {() => void} onChange
   */
  constructor(frame, swap, onChange = () => {}) {
    this.frame = frame;
    this.button = swap;
    this.onChange = onChange;
    /** @type {Picture} */
    this.large = "screen";
    this.shared = false;
    swap.onclick = () => this.swap();
    this.show(false);
  }

  /** @param {boolean} shared whether there is a screen to show */
  show(shared) {
    if (shared && !this.shared) this.large = "screen"; // what was swapped before was another share
    this.shared = shared;
    this.button.hidden = !shared;
    if (shared) this.frame.dataset.large = this.large;
    else delete this.frame.dataset.large;
    this.onChange();
  }

  swap() {
    this.large = this.large === "screen" ? "camera" : "screen";
    this.show(this.shared);
  }
}

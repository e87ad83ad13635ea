// @ts-check
/** A frame with one picture large and the others small in its corner; a press makes one large. */

/** @typedef {"screen" | "camera" | "interviewer" | "self"} Picture */

export class Pictures {
  /**
   * @param {Partial<Record<Picture, HTMLElement>>} places each with a video and a button `swap`; in
   *   the order in which they are large unasked. The style sheet goes by their `data-place`.
   * @param {() => void} onChange
   */
  constructor(places, onChange = () => {}) {
    this.places = /** @type {[Picture, HTMLElement][]} */ (Object.entries(places));
    this.onChange = onChange;
    /** @type {Picture[]} what there is, in the order of the places */
    this.shown = [];
    /** @type {Picture | undefined} */
    this.large = undefined;
    for (const [name, place] of this.places) {
      swapOf(place).onclick = () => this.swap(name);
      const video = /** @type {HTMLVideoElement} */ (place.querySelector("video"));
      for (const event of ["loadedmetadata", "resize", "emptied"]) {
        // Somebody without a camera is heard only.
        video.addEventListener(event, () => (place.dataset.seen = String(video.videoWidth > 0)));
      }
    }
    this.arrange();
  }

  /** @param {Picture[]} there which pictures there are, in any order */
  show(...there) {
    const shown = this.places.map(([name]) => name).filter((name) => there.includes(name));
    if (shown.join() === this.shown.join()) return;
    const come = shown.filter((name) => !this.shown.includes(name));
    this.shown = shown;
    // What comes is large if it usually is: what was pressed before was about other pictures.
    const ranks = (/** @type {Picture | undefined} */ name) => shown.indexOf(/** @type {Picture} */ (name));
    if (ranks(this.large) < 0 || come.some((name) => ranks(name) < ranks(this.large))) this.large = shown[0];
    this.arrange();
  }

  /**
   * @param {Picture} name
   * @param {boolean} on whether the camera is, whatever it sends
   */
  showCamera(name, on) {
    const place = this.places.find(([each]) => each === name)?.[1];
    if (place) place.dataset.camera = on ? "on" : "off";
  }

  /** @param {Picture} name of the small picture that was pressed */
  swap(name) {
    const before = this.large;
    this.large = name;
    this.arrange();
    // The button that was pressed is gone: its like is on what is small now.
    for (const [each, place] of this.places) if (each === before) swapOf(place).focus();
  }

  arrange() {
    let small = 0;
    for (const [name, place] of this.places) {
      place.hidden = !this.shown.includes(name);
      place.dataset.place = name === this.large ? "large" : String((small += place.hidden ? 0 : 1));
    }
    this.onChange();
  }
}

/** @param {HTMLElement} place */
function swapOf(place) {
  return /** @type {HTMLElement} */ (place.querySelector(".swap"));
}

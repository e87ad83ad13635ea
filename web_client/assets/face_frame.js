// @ts-check
/** Where the largest face is, as a thin frame over the picture. */

/**
 * The part of the element that the picture covers under `object-fit: contain`.
 * @param {number} width of the element
 * @param {number} height
 * @param {number} pictureWidth
 * @param {number} pictureHeight
 */
export function pictureArea(width, height, pictureWidth, pictureHeight) {
  const scale = Math.min(width / pictureWidth, height / pictureHeight);
  const [w, h] = [pictureWidth * scale, pictureHeight * scale];
  return { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h };
}

export class FaceFrame {
  /**
   * @param {HTMLElement} frame
   * @param {HTMLVideoElement} video
   */
  constructor(frame, video) {
    this.frame = frame;
    this.video = video;
    this.wanted = true;
    /** @type {Map<string, number | null>} */
    this.values = new Map();
  }

  /** @param {readonly import("./protocol.js").Indicator[]} indicators */
  add(indicators) {
    for (const { name, value } of indicators) {
      if (name.startsWith("face.")) this.values.set(name, value);
    }
    this.show();
  }

  clear() {
    this.values.clear();
    this.show();
  }

  show() {
    const [x, y, size] = ["face.x", "face.y", "face.size"].map((name) => this.values.get(name) ?? null);
    const { videoWidth, videoHeight, clientWidth, clientHeight, offsetLeft, offsetTop } = this.video;
    const shown = this.wanted && videoWidth > 0 && x !== null && y !== null && size !== null;
    this.frame.hidden = !shown;
    if (!shown) return;
    const area = pictureArea(clientWidth, clientHeight, videoWidth, videoHeight);
    // The detector's box is square, and its size a share of the picture's height.
    const side = size * area.height;
    const left = offsetLeft + area.left + x * area.width - side / 2;
    const top = offsetTop + area.top + y * area.height - side / 2;
    this.frame.style.width = this.frame.style.height = `${side}px`;
    this.frame.style.transform = `translate(${left}px, ${top}px)`;
  }
}

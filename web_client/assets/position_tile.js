// @ts-check
/** Where the largest face is in the picture, as a small drawing of the frame. */

import { create } from "./dom.js";
import { decimal } from "./format.js";
import { locale, setText, t } from "./i18n.js";

/** @typedef {import("./protocol.js").Indicator} Indicator */

const NAMES = ["face.x", "face.y", "face.size"];
/** Values older than this are not the current ones. */
const STALE_S = 3;

export class PositionTile {
  constructor() {
    /** @type {Map<string, Indicator>} */
    this.latest = new Map();
    this.reading = create("p", "position-reading", "–");
    this.face = create("div", "position-face");
    this.face.hidden = true;
    const label = create("h3");
    setText(label, "face.position");
    const picture = create("div", "position-picture", this.face);
    picture.setAttribute("aria-hidden", "true");
    const head = create("div", "tile-head", label);
    this.root = create("div", "tile", head, create("div", "position", picture, this.reading));
  }

  /** @param {Indicator} indicator */
  add(indicator) {
    if (NAMES.includes(indicator.name)) this.latest.set(indicator.name, indicator);
  }

  /** @param {number} now */
  show(now) {
    const [x, y, size] = NAMES.map((name) => {
      const indicator = this.latest.get(name);
      return indicator !== undefined && now - indicator.end_s < STALE_S ? indicator.value : null;
    });
    const known = x != null && y != null && size != null;
    this.face.hidden = !known;
    const percent = (/** @type {number} */ share) => decimal(share * 100, 0, locale());
    const text = known ? t("face.position-at", { left: percent(x), top: percent(y) }) : "–";
    if (this.reading.textContent !== text) this.reading.textContent = text;
    if (!known) return;
    this.face.style.left = `${x * 100}%`;
    this.face.style.top = `${y * 100}%`;
    this.face.style.height = `${size * 100}%`;
  }
}

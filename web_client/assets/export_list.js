// @ts-check
/** The exports of a recording as a list that keeps its focus while they go on. */

import { byId, create, icon } from "./dom.js";
import { clock, size, timeOfDay } from "./format.js";
import { locale, setText, t } from "./i18n.js";

/** @typedef {import("./api.js").Export} Export */

/** @param {Export} one */
function partText({ start_s, end_s, transcode }) {
  const part = `${clock(start_s)}–${clock(end_s)}`;
  return transcode ? t("export.part-everywhere", { part }) : part;
}

/** @param {Export} one */
function stateText({ state, done, size: bytes, until_s, fault }) {
  switch (state) {
    case "waiting":
      return t("export.waiting");
    case "running":
      return done < 1 ? t("export.running", { percent: Math.floor(done * 100) }) : t("export.finishing");
    case "ready":
      return t("export.ready", { size: size(bytes ?? 0, locale()), until: timeOfDay(until_s ?? 0, locale()) });
    case "failed":
      return t(`export.fault.${fault ?? "failed"}`);
  }
}

/**
 * Whether the same may go well another time.
 * @param {Export} one
 */
function isWorthAnother({ state, fault }) {
  return state === "failed" && fault !== "empty" && fault !== "pause-too-long";
}

class Row {
  /**
   * @param {Export} one
   * @param {(one: Export) => void} onRemove
   * @param {(one: Export) => void} onAgain
   */
  constructor(one, onRemove, onAgain) {
    this.one = one;
    this.part = create("span", "export-part");
    this.state = create("span", "export-state");
    this.progress = create("progress");
    this.progress.max = 1;
    this.file = create("a", "button primary", icon("download"), create("span"));
    this.statement = create("a", "button ghost", icon("shield"), create("span"));
    this.file.download = this.statement.download = ""; // by the name that the server gives
    this.again = create("button", "primary");
    this.again.type = "button";
    this.again.addEventListener("click", () => onAgain(this.one));
    this.drop = create("button", "ghost");
    this.drop.type = "button";
    this.drop.addEventListener("click", () => onRemove(this.one));
    const acts = create("div", "row export-acts", this.file, this.statement, this.again, this.drop);
    this.node = create("li", "export", this.part, this.state, this.progress, acts);
  }

  /** @param {Export} one */
  show(one) {
    this.one = one;
    const { state, done, file, statement } = one;
    const { underWay } = this;
    this.node.dataset.state = state;
    this.part.textContent = partText(one);
    this.state.textContent = stateText(one);
    this.progress.hidden = !underWay;
    if (state === "running") this.progress.value = done;
    else this.progress.removeAttribute("value");
    this.progress.setAttribute("aria-label", this.part.textContent);
    this.link(this.file, file, "export.download");
    this.link(this.statement, statement, "export.statement");
    this.again.hidden = !isWorthAnother(one);
    setText(this.again, "export.again");
    setText(this.drop, underWay ? "export.cancel" : "export.remove");
  }

  get underWay() {
    return this.one.state === "waiting" || this.one.state === "running";
  }

  /** How far it is can't be told. */
  lose() {
    if (!this.underWay) return;
    this.state.textContent = t("export.away");
    this.progress.removeAttribute("value");
  }

  /**
   * @param {HTMLAnchorElement} link
   * @param {string | null} address
   * @param {"export.download" | "export.statement"} key
   */
  link(link, address, key) {
    link.hidden = address === null;
    if (address !== null) link.setAttribute("href", address);
    setText(/** @type {HTMLElement} */ (link.lastElementChild), key);
  }
}

export class ExportList {
  /**
   * @param {(one: Export) => void} onRemove it shall not be there any more
   * @param {(one: Export) => void} onAgain it has failed, and shall be made anew
   */
  constructor(onRemove, onAgain) {
    this.onRemove = onRemove;
    this.onAgain = onAgain;
    /** @type {Map<string, Row>} by the export's id */
    this.rows = new Map();
    byId("exports").replaceChildren();
    byId("export-said").textContent = "";
  }

  /** @param {readonly Export[]} exports in the order they were asked for */
  show(exports) {
    for (const [id, row] of this.rows) {
      if (exports.some((one) => one.id === id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    for (const one of exports) {
      const known = this.rows.get(one.id);
      if (known !== undefined && known.one.state !== one.state) this.tell(one);
      const row = known ?? new Row(one, this.onRemove, this.onAgain);
      row.show(one);
      if (known !== undefined) continue;
      this.rows.set(one.id, row);
      byId("exports").prepend(row.node);
    }
  }

  /** The server does not answer. */
  lose() {
    for (const row of this.rows.values()) row.lose();
  }

  say() {
    byId("export-said").textContent = ""; // in the language before
    for (const row of this.rows.values()) row.show(row.one);
  }

  /**
   * For who does not look there; percentages are not told one by one.
   * @param {Export} one
   */
  tell(one) {
    if (one.state === "ready" || one.state === "failed") {
      byId("export-said").textContent = `${partText(one)}: ${stateText(one)}`;
    }
  }
}

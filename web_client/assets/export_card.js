// @ts-check
/** Exports of the shown recording: asking for one, following those under way, fetching and removing them. */

import { ApiError } from "./api.js";
import { marked, momentText, parseMoment } from "./clip.js";
import { byId, element } from "./dom.js";
import { ExportList } from "./export_list.js";
import { setText } from "./i18n.js";
import { refusalOf } from "./refusal.js";

/** @typedef {import("./api.js").Export} Export */
/** @typedef {import("./clip.js").Clip} Clip */

/** How often the server is asked while something is under way. */
const POLL_MS = 1000;

export class ExportCard {
  /**
   * @param {object} options
   * @param {import("./api.js").Api} options.api
   * @param {string} options.interview
   * @param {readonly Export[]} options.exports as they stand now
   * @param {number} options.duration
   * @param {() => number} options.position where playing is
   * @param {(clip: Clip | null) => void} options.onClip to be shown on the timeline; null: all of it
   * @param {() => void} options.onAsked something was asked for, which is on the record now
   * @param {AbortSignal} options.signal
   */
  constructor({ api, interview, exports, duration, position, onClip, onAsked, signal }) {
    this.api = api;
    this.interview = interview;
    this.duration = duration;
    this.position = position;
    this.onClip = onClip;
    this.onAsked = onAsked;
    this.signal = signal;
    this.list = new ExportList(
      (one) => void this.remove(one),
      (one) => void this.again(one),
    );
    /** @type {Clip} */
    this.clip = { start: 0, end: duration };
    this.polls = false;
    this.connect();
    element("export-form", HTMLFormElement).reset();
    this.complain(null);
    this.show();
    this.list.show(exports);
    void this.follow();
  }

  connect() {
    const { signal } = this;
    element("export-form", HTMLFormElement).addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        void this.ask();
      },
      { signal },
    );
    for (const id of ["export-whole", "export-clip"]) {
      byId(id).addEventListener("change", () => this.show(), { signal });
    }
    for (const which of /** @type {const} */ (["start", "end"])) {
      byId(`clip-${which}-here`).addEventListener("click", () => this.mark(which), { signal });
      element(`clip-${which}`, HTMLInputElement).addEventListener("change", () => this.typed(which), { signal });
    }
  }

  /** The recording has grown.
   * @param {number} duration */
  grow(duration) {
    if (this.clip.end === this.duration) this.clip.end = duration;
    this.duration = duration;
  }

  get isClip() {
    return element("export-clip", HTMLInputElement).checked;
  }

  /**
   * Where playing is, one end of the clip is.
   * @param {"start" | "end"} which
   */
  mark(which) {
    element("export-clip", HTMLInputElement).checked = true;
    this.clip = marked(this.clip, which, this.position(), this.duration);
    this.complain(null);
    this.show();
  }

  /** @param {"start" | "end"} which */
  typed(which) {
    const time = parseMoment(element(`clip-${which}`, HTMLInputElement).value);
    if (time === null) return this.complain("export.no-time");
    this.clip = marked(this.clip, which, time, this.duration);
    this.complain(null);
    this.show();
  }

  show() {
    byId("clip-fields").hidden = !this.isClip;
    for (const which of /** @type {const} */ (["start", "end"])) {
      element(`clip-${which}`, HTMLInputElement).value = momentText(this.clip[which]);
    }
    this.onClip(this.isClip ? this.clip : null);
  }

  /** Everything that is text, in the current language. */
  say() {
    this.list.say();
  }

  async ask() {
    const button = element("export", HTMLButtonElement);
    const { start, end } = this.clip;
    button.disabled = true;
    this.complain(null);
    try {
      await this.api.makeExport(this.interview, {
        ...(this.isClip ? { start_s: start, end_s: end } : {}),
        transcode: element("export-everywhere", HTMLInputElement).checked,
      });
      this.onAsked();
      await this.follow();
    } catch (error) {
      this.refused(error);
    } finally {
      button.disabled = false;
    }
  }

  /**
   * The same as one that has failed, in its place; if it is refused, the form still says what it was.
   * @param {Export} failed
   */
  async again(failed) {
    this.clip = { start: failed.start_s, end: failed.end_s };
    const isWhole = failed.start_s === 0 && failed.end_s >= this.duration;
    element(isWhole ? "export-whole" : "export-clip", HTMLInputElement).checked = true;
    element("export-everywhere", HTMLInputElement).checked = failed.transcode;
    this.show();
    await this.remove(failed);
    await this.ask();
  }

  /** @param {Export} one */
  async remove(one) {
    try {
      await this.api.removeExport(this.interview, one.id);
    } catch (error) {
      if (!(error instanceof ApiError) || error.id !== "not-found") return this.refused(error);
    }
    await this.follow();
  }

  /** Ask how they stand, and from then on again while one of them is under way. */
  async follow() {
    const underWay = await this.refresh();
    if (underWay && !this.polls) void this.poll();
  }

  async poll() {
    this.polls = true;
    do await new Promise((resolve) => window.setTimeout(resolve, POLL_MS));
    while (!this.signal.aborted && (await this.refresh()));
    this.polls = false;
  }

  /** @returns {Promise<boolean>} whether to look again */
  async refresh() {
    try {
      const exports = await this.api.exports(this.interview);
      if (this.signal.aborted) return false;
      this.list.show(exports);
      return exports.some(({ state }) => state === "waiting" || state === "running");
    } catch (error) {
      console.warn(error);
      const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
      const passes = refusal === "unreachable" || refusal === "other";
      if (passes && !this.signal.aborted) this.list.lose();
      return passes;
    }
  }

  /** @param {unknown} error */
  refused(error) {
    console.warn(error);
    const id = error instanceof ApiError ? error.id : "internal";
    if (id === "too-many-exports") return this.complain("export.too-many");
    if (id === "server-busy" || id === "too-many-requests") return this.complain("export.busy");
    if (id === "bad-message") return this.complain("export.empty");
    this.complain(`refused.${refusalOf(id)}.text`);
  }

  /** @param {import("./i18n.js").Key | null} key */
  complain(key) {
    const place = byId("export-error");
    place.hidden = key === null;
    if (key !== null) setText(place, key);
  }
}

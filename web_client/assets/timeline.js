// @ts-check
/** What happened in a recording and what is missing of it, on the timeline and as a list. */

import { byId, create, element } from "./dom.js";
import { clock, decimal } from "./format.js";
import { locale, t } from "./i18n.js";
import { LISTED_GAP_S, interruptions } from "./replay.js";

/** @typedef {import("./replay.js").ReplayIndex} ReplayIndex */
/** @typedef {import("./replay.js").Interruption} Interruption */
/** @typedef {{at: number, width: number, kind: "event" | "gap", text: string}} Mark */

/** How long before its place a gap is announced over the picture, and how long after. */
const GAP_NOTE_BEFORE_S = 0.2;
const GAP_NOTE_S = 1.5;
/** From here on minutes and seconds say more than seconds. */
const LONG_S = 100;
/** So near to the pointer, as a share of the timeline, a mark is told of. */
const NEAR = 0.006;
const EVENTS = /** @type {const} */ ([
  "joined", "disconnected", "screen-shown", "screen-hidden", "interviewer-joined", "interviewer-left", "left", "revoked", "gone", "server-stopped",
  "camera-off", "camera-on", "interviewer-camera-off", "interviewer-camera-on",
  "microphone-off", "microphone-on", "interviewer-microphone-off", "interviewer-microphone-on", "compressed",
]);
const CAUSES = /** @type {const} */ (["packets-lost", "layer-stopped", "paused", "queue-full", "disconnected", "server-restart", "write-failed"]);

/** @param {string} name */
function eventText(name) {
  const known = EVENTS.find((event) => event === name);
  return known ? t(`event.${known}`) : name;
}

/** @param {string} name */
function causeText(name) {
  const known = CAUSES.find((cause) => cause === name);
  return known ? t(`cause.${known}`) : name;
}

/** @param {Interruption} gap */
function gapText(gap) {
  const seconds = gap.end_s - gap.start_s;
  const time = seconds < LONG_S ? t("replay.seconds", { n: decimal(seconds, 1, locale()) }) : clock(seconds);
  const cause = gap.causes.map(causeText).join(t("list.comma"));
  return t(whatIsMissing(gap.tracks), { time, cause });
}

/** @param {readonly string[]} tracks */
function whatIsMissing(tracks) {
  if (tracks.every((track) => track === "camera")) return "replay.gap-camera";
  if (tracks.every((track) => track === "microphone")) return "replay.gap-microphone";
  if (tracks.every((track) => track === "screen")) return "replay.gap-screen";
  if (tracks.every((track) => track.startsWith("interviewer"))) return "replay.gap-interviewer";
  return "replay.gap";
}

export class Timeline {
  /**
   * @param {ReplayIndex} index
   * @param {(time: number) => void} onSeek
   * @param {AbortSignal} signal
   */
  constructor(index, onSeek, signal) {
    this.index = index;
    this.onSeek = onSeek;
    /** @type {Interruption[]} */
    this.gaps = [];
    /** @type {Mark[]} */
    this.marks = [];
    this.said = "";
    const bar = element("seek", HTMLInputElement);
    bar.addEventListener("input", () => onSeek(Number(bar.value)), { signal });
    bar.addEventListener("pointermove", (event) => this.point(event), { signal });
    for (const event of ["pointerleave", "pointercancel"]) {
      bar.addEventListener(event, () => (byId("seek-tip").hidden = true), { signal });
    }
  }

  /** @param {ReplayIndex} index */
  use(index) {
    this.index = index;
    this.gaps = interruptions(index.gaps);
    element("seek", HTMLInputElement).max = String(index.duration_s);
    this.say();
  }

  /** In the current language. */
  say() {
    /** @type {Mark[]} */
    const marks = [
      ...this.index.events.map(({ event, at_s }) => (
        /** @type {Mark} */ ({ at: Math.max(at_s, 0), width: 0, kind: "event", text: eventText(event) })
      )),
      ...this.gaps.map((gap) => (
        /** @type {Mark} */ ({ at: Math.max(gap.start_s, 0), width: gap.end_s - gap.start_s, kind: "gap", text: gapText(gap) })
      )),
    ];
    this.marks = marks.sort((a, b) => a.at - b.at);
    this.place();
    const listed = this.marks.filter(({ kind, width }) => kind === "event" || width >= LISTED_GAP_S);
    const said = JSON.stringify(listed);
    if (said === this.said) return; // a list that stays has its focus and its place
    this.said = said;
    byId("no-marks").hidden = listed.length > 0;
    byId("marks-list").replaceChildren(...listed.map((mark) => this.item(mark)));
  }

  place() {
    const total = this.index.duration_s;
    byId("marks").replaceChildren(
      ...this.marks.map(({ at, width, kind }) => {
        const node = create("span", `mark ${kind}`);
        node.style.left = `${(at / total) * 100}%`;
        node.style.width = kind === "gap" ? `${(width / total) * 100}%` : "";
        return node;
      }),
    );
  }

  /**
   * The part that is to be saved.
   * @param {import("./clip.js").Clip | null} clip null: all of it
   */
  showClip(clip) {
    const span = byId("clip-span");
    span.hidden = clip === null || this.index.duration_s === 0;
    if (clip === null) return;
    span.style.left = `${(clip.start / this.index.duration_s) * 100}%`;
    span.style.width = `${((clip.end - clip.start) / this.index.duration_s) * 100}%`;
  }

  /** @param {Mark} mark */
  item({ at, kind, text }) {
    const button = create("button", `mark-jump ${kind}`, create("span", "mark-time", clock(at)), create("span", "", text));
    button.type = "button";
    button.addEventListener("click", () => this.onSeek(at));
    return create("li", "", button);
  }

  /** @param {PointerEvent} event over the bar: tell the time there, and what is near */
  point(event) {
    const bar = element("seek", HTMLInputElement).getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - bar.left) / bar.width));
    const total = this.index.duration_s;
    const time = share * total;
    const near = this.marks.find(({ at, width }) => time >= at - NEAR * total && time <= at + width + NEAR * total);
    const tip = byId("seek-tip");
    tip.hidden = total === 0;
    tip.textContent = near ? `${clock(time)} · ${near.text}` : clock(time);
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.min(Math.max(share * bar.width, half), bar.width - half)}px`;
  }

  /**
   * Where playing is, and what is loaded around it.
   * @param {number} time
   * @param {readonly import("./replay.js").Span[]} buffered
   */
  show(time, buffered) {
    const total = this.index.duration_s;
    const position = `${clock(time)} / ${clock(total)}`;
    byId("position").textContent = position;
    const bar = element("seek", HTMLInputElement);
    bar.value = String(time);
    bar.setAttribute("aria-valuetext", position);
    byId("played").style.transform = `scaleX(${total > 0 ? Math.min(1, time / total) : 0})`;
    const span = buffered.find(({ start_s, end_s }) => start_s <= time && time <= end_s);
    byId("buffered").style.left = `${total > 0 ? ((span?.start_s ?? 0) / total) * 100 : 0}%`;
    byId("buffered").style.width = `${span && total > 0 ? ((span.end_s - span.start_s) / total) * 100 : 0}%`;
    this.showGap(time);
  }

  /** @param {number} time */
  showGap(time) {
    const gap = this.gaps.find(
      ({ start_s, end_s }) =>
        end_s - start_s >= LISTED_GAP_S && time >= start_s - GAP_NOTE_BEFORE_S && time < end_s + GAP_NOTE_S,
    );
    byId("gap-note").hidden = gap === undefined;
    const text = gap ? gapText(gap) : "";
    if (gap && byId("gap-note").textContent !== text) byId("gap-note").textContent = text;
  }
}

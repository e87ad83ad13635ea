// @ts-check
/** The player's controls, timeline, list of events and gaps, and verification. */

import { byId, create, element, iconHref } from "./dom.js";
import { clock, decimal } from "./format.js";
import { locale, setLabel, setText, t } from "./i18n.js";
import { Player } from "./player.js";
import { LISTED_GAP_S, interruptions } from "./replay.js";
import { Pictures } from "./pictures.js";
import { SideReplay } from "./side_replay.js";
import { showVerification } from "./verification.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./replay.js").ReplayIndex} ReplayIndex */
/** @typedef {import("./replay.js").Interruption} Interruption */
/** @typedef {import("./replay.js").Side} Side */

const JUMP_S = 5;
const GROWTH_INTERVAL_MS = 3000;
/** How long before its place a gap is announced over the picture, and how long after. */
const GAP_NOTE_S = 1.5;
const EVENTS = /** @type {const} */ ([
  "joined", "disconnected", "screen-shown", "screen-hidden", "interviewer-joined", "interviewer-left", "left", "revoked", "gone", "server-stopped",
]);
const CAUSES = /** @type {const} */ (["packets-lost", "layer-stopped", "queue-full", "disconnected", "server-restart", "write-failed"]);

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
  const seconds = decimal(gap.end_s - gap.start_s, 1, locale());
  return t("replay.gap", { seconds, cause: gap.causes.map(causeText).join(t("list.comma")) });
}

export class ReplayView {
  /**
   * @param {Api} api
   * @param {string} interview
   * @param {ReplayIndex} index
   * @param {() => void} onGrowth a recording that is still being made has grown
   */
  constructor(api, interview, index, onGrowth) {
    this.index = index;
    this.onGrowth = onGrowth;
    this.video = element("replay-video", HTMLVideoElement);
    this.seekBar = element("seek", HTMLInputElement);
    /** @type {Interruption[]} */
    this.gaps = [];
    this.closing = new AbortController();
    this.player = new Player({
      video: this.video,
      index,
      load: (part, number, signal) => api.media(interview, part, number, signal),
      onError: (error) => this.fail("replay.failed", error),
    });
    this.pictures = new Pictures({
      screen: byId("replay-picture-screen"),
      camera: byId("replay-picture-camera"),
      interviewer: byId("replay-picture-interviewer"),
    });
    /** @type {Set<Side>} what there is beside the candidate at this position */
    this.there = new Set();
    this.sides = [this.side("screen", api, interview), this.side("interviewer", api, interview)];
    this.showPictures();
    byId("verify-result").hidden = true;
    byId("replay-note").hidden = true;
    this.connect(api, interview);
    this.use(index);
    if (index.fragments.length === 0) this.fail("replay.empty");
    else if (!this.player.open()) this.fail("replay.unsupported");
    if (index.state === "recording") void this.follow(api, interview);
  }

  /**
   * @param {Side} side
   * @param {Api} api
   * @param {string} interview
   */
  side(side, api, interview) {
    return new SideReplay({
      side,
      video: element(`replay-${side}`, HTMLVideoElement),
      candidate: this.video,
      index: this.index,
      load: (part, number, signal) => api.media(interview, part, number, signal),
      onThere: (there) => {
        if (there) this.there.add(side);
        else this.there.delete(side);
        this.showPictures();
      },
    });
  }

  showPictures() {
    this.pictures.show("camera", ...this.there);
    byId("replay-picture-camera").dataset.named = String(this.there.has("interviewer"));
  }

  /** @param {ReplayIndex} index */
  use(index) {
    this.index = index;
    this.gaps = interruptions(index.gaps);
    this.seekBar.max = String(index.duration_s);
    this.player.grow(index);
    for (const side of this.sides) side.grow(index);
    this.say();
  }

  /**
   * Replay of a recording that still grows: look for more from time to time.
   * @param {Api} api
   * @param {string} interview
   */
  async follow(api, interview) {
    while (!this.closing.signal.aborted && this.index.state === "recording") {
      await new Promise((resolve) => window.setTimeout(resolve, GROWTH_INTERVAL_MS));
      const index = await api.replayIndex(interview).catch((error) => console.warn(error));
      if (!index || this.closing.signal.aborted) continue;
      this.use(index);
      this.onGrowth();
    }
  }

  close() {
    this.closing.abort();
    for (const side of this.sides) side.close();
    this.player.close();
  }

  /** Everything that is text, in the current language. */
  say() {
    const total = this.index.duration_s;
    const marks = [
      ...this.index.events.map(({ event, at_s }) => ({ at: at_s, width: 0, kind: "event", text: eventText(event) })),
      ...this.gaps.map((gap) => ({ at: gap.start_s, width: gap.end_s - gap.start_s, kind: "gap", text: gapText(gap) })),
    ].sort((a, b) => a.at - b.at);
    byId("marks").replaceChildren(
      ...marks.map((mark) => {
        const node = create("span", `mark ${mark.kind}`);
        node.style.left = `${(Math.max(mark.at, 0) / total) * 100}%`;
        node.style.width = mark.kind === "gap" ? `${(mark.width / total) * 100}%` : "";
        return node;
      }),
    );
    const listed = marks.filter((mark) => mark.kind === "event" || mark.width >= LISTED_GAP_S);
    byId("no-marks").hidden = listed.length > 0;
    byId("marks-list").replaceChildren(...listed.map((mark) => this.markItem(mark)));
    this.showPosition();
  }

  /** @param {{at: number, kind: string, text: string}} mark */
  markItem({ at, kind, text }) {
    const button = create("button", `mark-jump ${kind}`, create("span", "mark-time", clock(at)), create("span", "", text));
    button.type = "button";
    button.addEventListener("click", () => this.player.seek(Math.max(0, at)));
    return create("li", "", button);
  }

  /**
   * @param {Api} api
   * @param {string} interview
   */
  connect(api, interview) {
    const { signal } = this.closing;
    /** @type {(id: string, act: () => void) => void} */
    const onClick = (id, act) => byId(id).addEventListener("click", act, { signal });
    onClick("play", () => this.togglePlay());
    onClick("back", () => this.jump(-JUMP_S));
    onClick("forward", () => this.jump(JUMP_S));
    onClick("frame", () => this.player.step(1));
    onClick("frame-back", () => this.player.step(-1));
    onClick("replay-video", () => this.togglePlay());
    onClick("replay-screen", () => this.togglePlay());
    onClick("replay-interviewer", () => this.togglePlay());
    onClick("verify", () => void showVerification(api, interview));
    this.seekBar.addEventListener("input", () => this.player.seek(Number(this.seekBar.value)), { signal });
    const speed = element("speed", HTMLSelectElement);
    this.video.playbackRate = Number(speed.value);
    speed.addEventListener("change", () => (this.video.playbackRate = Number(speed.value)), { signal });
    for (const event of ["timeupdate", "seeking", "play", "pause", "ended", "progress"]) {
      this.video.addEventListener(event, () => this.showPosition(), { signal });
    }
    this.video.addEventListener("playing", () => (byId("replay-note").hidden = true), { signal });
    document.addEventListener("keydown", (event) => this.key(event), { signal });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const target = event.target instanceof HTMLElement ? event.target : null;
    if (event.ctrlKey || event.metaKey || event.altKey || target?.closest("select, dialog")) return;
    if (event.key === " " && target?.closest("button, a")) return; // presses that button
    /** @type {Record<string, () => void>} */
    const keys = {
      " ": () => this.togglePlay(),
      k: () => this.togglePlay(),
      ArrowLeft: () => this.jump(-JUMP_S),
      ArrowRight: () => this.jump(JUMP_S),
      ",": () => this.player.step(-1),
      ".": () => this.player.step(1),
      Home: () => this.player.seek(0),
      End: () => this.player.seek(this.index.duration_s),
    };
    const act = keys[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  togglePlay() {
    if (!this.video.paused && !this.video.ended) this.video.pause();
    else this.video.play().catch((error) => console.warn(error));
  }

  /** @param {number} seconds */
  jump(seconds) {
    this.player.seek(this.video.currentTime + seconds);
  }

  showPosition() {
    const { currentTime, paused, ended } = this.video;
    const total = this.index.duration_s;
    const position = `${clock(currentTime)} / ${clock(total)}`;
    byId("position").textContent = position;
    this.seekBar.value = String(currentTime);
    this.seekBar.setAttribute("aria-valuetext", position);
    byId("played").style.transform = `scaleX(${total > 0 ? currentTime / total : 0})`;
    const span = this.player.buffered().find(({ start_s, end_s }) => start_s <= currentTime && currentTime <= end_s);
    byId("buffered").style.left = `${((span?.start_s ?? 0) / total) * 100}%`;
    byId("buffered").style.width = `${span ? ((span.end_s - span.start_s) / total) * 100 : 0}%`;
    const playing = !paused && !ended;
    setLabel(byId("play"), "aria-label", playing ? "replay.pause" : "replay.play");
    setLabel(byId("play"), "title", playing ? "replay.pause" : "replay.play");
    element("play-icon", SVGUseElement).setAttribute("href", iconHref(playing ? "pause" : "play"));
    this.showGap(currentTime);
  }

  /** @param {number} time */
  showGap(time) {
    const gap = this.gaps.find(
      ({ start_s, end_s }) => end_s - start_s >= LISTED_GAP_S && time >= start_s - 0.2 && time < end_s + GAP_NOTE_S,
    );
    byId("gap-note").hidden = gap === undefined;
    if (gap) byId("gap-note").textContent = gapText(gap);
  }

  /**
   * @param {"replay.failed" | "replay.empty" | "replay.unsupported"} key
   * @param {unknown} [error]
   */
  fail(key, error) {
    if (error) console.warn(error);
    setText(byId("replay-note-text"), key);
    byId("replay-note").hidden = false;
  }
}

// @ts-check
/** The replay of one recording: its pictures, its controls, and what it says of itself. */

import { ApiError } from "./api.js";
import { byId, element, iconHref } from "./dom.js";
import { ExportCard } from "./export_card.js";
import { clock } from "./format.js";
import { setLabel, setText } from "./i18n.js";
import { makePlayer } from "./native_player.js";
import { Pictures } from "./pictures.js";
import { LiveEdge } from "./live_edge.js";
import { refusalOf } from "./refusal.js";
import { grown, hasPicture, liveness } from "./replay.js";
import { actOf, showHelp } from "./replay_keys.js";
import { ReplayNote } from "./replay_note.js";
import { ReplaySound } from "./replay_sound.js";
import { SideReplay } from "./side_replay.js";
import { Timeline } from "./timeline.js";
import { showVerification } from "./verification.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./replay.js").ReplayIndex} ReplayIndex */
/** @typedef {import("./replay.js").Side} Side */

const JUMP_S = 5;
const FAR_JUMP_S = 10;
/** How often a recording that grows is looked at where it is seen live, */
const NEWS_INTERVAL_MS = 1000;
/** and elsewhere. */
const GROWTH_INTERVAL_MS = 3000;
/** Nearer to its end than this, a recording is not taken up again there. */
const NEAR_END_S = 5;
const REMEMBER_INTERVAL_MS = 3000;

export class ReplayView {
  /**
   * @param {Api} api
   * @param {string} interview
   * @param {ReplayIndex} index
   * @param {readonly import("./api.js").Export[]} exports as they stand now
   * @param {object} options
   * @param {number | null} options.at where to begin; null: where this browser left it, or live
   * @param {(index: ReplayIndex) => void} options.onGrowth a recording that is still being made has grown
   * @param {() => void} options.onRead something is on the record anew
   */
  constructor(api, interview, index, exports, { at, onGrowth, onRead }) {
    this.api = api;
    this.interview = interview;
    this.index = index;
    this.onGrowth = onGrowth;
    this.video = element("replay-video", HTMLVideoElement);
    this.closing = new AbortController();
    const { signal } = this.closing;
    this.wasLive = index.state === "recording";
    this.remembered = 0;
    this.notes = new ReplayNote(this.video, signal);
    this.edge = new LiveEdge(this.video, () => {
      this.notes.await(this.edge.waiting);
      this.showPosition();
    });
    this.timeline = new Timeline(index, (time) => this.seek(time), signal);
    this.sound = new ReplaySound([this.video, element("replay-interviewer", HTMLVideoElement)], signal);
    this.pictures = new Pictures({
      screen: byId("replay-picture-screen"),
      camera: byId("replay-picture-camera"),
      interviewer: byId("replay-picture-interviewer"),
    });
    /** @type {Set<Side>} what there is beside the candidate at this position */
    this.there = new Set();
    this.player = this.makePlayer();
    this.sides = [this.side("screen"), this.side("interviewer")];
    this.showPictures();
    this.exports = new ExportCard({
      api,
      interview,
      exports,
      duration: index.duration_s,
      position: () => this.video.currentTime,
      onClip: (clip) => this.timeline.showClip(clip),
      onAsked: onRead,
      signal,
    });
    byId("verify-result").hidden = true;
    this.connect();
    this.use(index);
    this.start(at ?? this.recall() ?? (index.state === "recording" ? this.edge.place(index) : 0));
    if (index.state === "recording") void this.follow();
  }

  makePlayer() {
    return makePlayer({
      video: this.video,
      index: this.index,
      address: this.api.hlsAddress(this.interview, "candidate"),
      load: (part, number, last, signal) => this.api.media(this.interview, part, number, last, signal),
      times: (seq) => this.api.pictureTimes(this.interview, seq),
      onError: (error) => this.fail(error),
      onLoaded: () => this.notes.clear(),
    });
  }

  /** @param {number} at */
  start(at) {
    if (this.index.fragments.length === 0) {
      this.notes.say(this.index.state === "recording" ? "replay.waiting" : "replay.empty");
    } else if (!this.player.open(at)) {
      this.notes.say("replay.unsupported");
    } else {
      this.notes.clear();
    }
  }

  /** @param {Side} side */
  side(side) {
    return new SideReplay({
      side,
      video: element(`replay-${side}`, HTMLVideoElement),
      candidate: this.video,
      index: this.index,
      address: this.api.hlsAddress(this.interview, side),
      load: (part, number, last, signal) => this.api.media(this.interview, part, number, last, signal),
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
    this.player.grow(index);
    for (const side of this.sides) side.grow(index);
    this.timeline.use(index);
    this.exports.grow(index.duration_s);
    this.edge.grown(index);
    this.showPosition();
  }

  /** Replay of a recording that still grows: look for more from time to time. */
  async follow() {
    while (!this.closing.signal.aborted && this.index.state === "recording") {
      const isLive = liveness(this.index, this.video.currentTime) === "live";
      const interval = isLive ? NEWS_INTERVAL_MS : GROWTH_INTERVAL_MS;
      await new Promise((resolve) => window.setTimeout(resolve, interval));
      if (!this.closing.signal.aborted && !(await this.refresh())) return;
    }
  }

  /** @returns {Promise<boolean>} whether to look again */
  async refresh() {
    try {
      const known = this.index;
      const news = await this.api.replayIndex(this.interview, known.fragments.at(-1)?.seq ?? 0);
      const index = grown(known, news) ?? (await this.api.replayIndex(this.interview));
      if (this.closing.signal.aborted) return false;
      if (index.revision === known.revision && known.fragments.length > 0) this.use(index);
      else this.reopen(index);
      if (this.notes.fault?.title === "replay.failed") this.notes.clear();
      this.onGrowth(index);
      return true;
    } catch (error) {
      return this.fail(error);
    }
  }

  /**
   * What was known does not hold any more: another track has come, for one.
   * @param {ReplayIndex} index
   */
  reopen(index) {
    const at = this.video.currentTime;
    const { playing } = this;
    this.edge.release();
    this.player.close();
    this.index = index;
    this.player = this.makePlayer();
    this.use(index);
    this.start(at);
    if (playing) this.play();
  }

  close() {
    this.remember();
    this.closing.abort();
    for (const side of this.sides) side.close();
    this.player.close();
  }

  /** Everything that is text, in the current language. */
  say() {
    this.timeline.say();
    this.exports.say();
    this.showPosition();
  }

  connect() {
    const { signal } = this.closing;
    /** @type {(id: string, act: () => void) => void} */
    const onClick = (id, act) => byId(id).addEventListener("click", act, { signal });
    onClick("play", () => this.togglePlay());
    onClick("back", () => this.jump(-JUMP_S));
    onClick("forward", () => this.jump(JUMP_S));
    onClick("frame", () => this.step(1));
    onClick("frame-back", () => this.step(-1));
    onClick("replay-video", () => this.togglePlay());
    onClick("replay-screen", () => this.togglePlay());
    onClick("replay-interviewer", () => this.togglePlay());
    onClick("go-live", () => void this.goLive());
    onClick("full-screen", () => void this.toggleFullScreen());
    onClick("own-window", () => void this.toggleOwnWindow());
    onClick("keys-help", showHelp);
    onClick("copy-moment", () => void this.copyMoment());
    onClick("verify", () => void showVerification(this.api, this.interview));
    const speed = element("speed", HTMLSelectElement);
    this.video.defaultPlaybackRate = this.video.playbackRate = Number(speed.value);
    speed.addEventListener(
      "change",
      () => (this.video.defaultPlaybackRate = this.video.playbackRate = Number(speed.value)),
      { signal },
    );
    for (const event of ["timeupdate", "seeking", "play", "pause", "ended", "progress"]) {
      this.video.addEventListener(event, () => this.showPosition(), { signal });
    }
    this.video.addEventListener("pause", () => this.remember(), { signal });
    this.video.addEventListener("waiting", () => this.edge.stalled(this.index), { signal });
    byId("own-window").hidden = !document.pictureInPictureEnabled;
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    window.addEventListener("pagehide", () => this.remember(), { signal });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const act = actOf(event, event.target instanceof Element ? event.target : null);
    if (act === null) return;
    event.preventDefault();
    switch (act) {
      case "play": return this.togglePlay();
      case "back": return this.jump(-JUMP_S);
      case "forward": return this.jump(JUMP_S);
      case "far-back": return this.jump(-FAR_JUMP_S);
      case "far-forward": return this.jump(FAR_JUMP_S);
      case "frame-back": return this.step(-1);
      case "frame": return this.step(1);
      case "start": return this.seek(0);
      case "end": return this.index.state === "recording" ? void this.goLive() : this.seek(this.index.duration_s);
      case "louder": return this.sound.step(1);
      case "quieter": return this.sound.step(-1);
      case "mute": return this.sound.toggle();
      case "full-screen": return void this.toggleFullScreen();
      case "clip-start": return this.exports.mark("start");
      case "clip-end": return this.exports.mark("end");
      case "help": return showHelp();
    }
  }

  /** Whether it plays, or waits for what it goes on with. */
  get playing() {
    return this.edge.waiting || (!this.video.paused && !this.video.ended);
  }

  togglePlay() {
    if (!this.playing) return this.play();
    this.edge.release();
    this.video.pause();
  }

  play() {
    this.video.play().catch((error) => console.warn(error));
  }

  /** @param {number} time */
  seek(time) {
    const plays = this.playing;
    this.edge.release();
    this.player.seek(time);
    if (plays && this.video.paused) this.play();
  }

  /** @param {number} seconds */
  jump(seconds) {
    this.seek(this.video.currentTime + seconds);
  }

  /** @param {1 | -1} direction */
  step(direction) {
    this.edge.release();
    this.player.step(direction);
  }

  async goLive() {
    await this.refresh();
    this.seek(this.edge.place(this.index));
    if (!this.playing) this.play();
  }

  async toggleFullScreen() {
    const frame = byId("player");
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (frame.requestFullscreen) await frame.requestFullscreen();
      else /** @type {any} */ (this.video).webkitEnterFullscreen(); // an iPhone shows a video so, and nothing else
    } catch (error) {
      console.warn(error);
    }
  }

  /** Picture-in-picture, of what is large. */
  async toggleOwnWindow() {
    try {
      if (document.pictureInPictureElement) return await document.exitPictureInPicture();
      await element(`replay-${largeOf(this.pictures)}`, HTMLVideoElement).requestPictureInPicture();
    } catch (error) {
      console.warn(error);
    }
  }

  async copyMoment() {
    const address = new URL(location.href);
    address.searchParams.set("interview", this.interview);
    address.searchParams.set("t", this.video.currentTime.toFixed(2));
    try {
      await navigator.clipboard.writeText(address.href);
      setText(byId("copy-result"), "replay.copied", { at: clock(this.video.currentTime) });
    } catch {
      history.replaceState(null, "", address); // forbidden here: it is in the address bar
      setText(byId("copy-result"), "replay.in-address", { at: clock(this.video.currentTime) });
    }
  }

  showPosition() {
    const { currentTime } = this.video;
    this.timeline.show(currentTime, this.player.buffered());
    const { playing } = this;
    setLabel(byId("play"), "aria-label", playing ? "replay.pause" : "replay.play");
    setLabel(byId("play"), "title", playing ? "replay.pause" : "replay.play");
    element("play-icon", SVGUseElement).setAttribute("href", iconHref(playing ? "pause" : "play"));
    byId("replay-picture-camera").dataset.recorded = String(hasPicture(this.index, currentTime));
    this.showLive(currentTime);
    if (Date.now() - this.remembered > REMEMBER_INTERVAL_MS) this.remember();
  }

  /** @param {number} time */
  showLive(time) {
    const live = liveness(this.index, time);
    byId("live").hidden = !this.wasLive;
    byId("live").dataset.live = live ?? "ended";
    byId("go-live").hidden = live !== "behind";
    setText(byId("live-text"), `live.${live ?? "ended"}`);
    if (this.index.state === "recording") this.wasLive = true;
  }

  // ---- the position that this browser remembers --------------------------------------------

  get memory() {
    return `vivavoce.position.${this.interview}`;
  }

  remember() {
    this.remembered = Date.now();
    const time = this.video.currentTime;
    if (this.video.readyState === 0) return;
    try {
      if (this.index.state !== "recording" && time > this.index.duration_s - NEAR_END_S) {
        localStorage.removeItem(this.memory);
      } else {
        localStorage.setItem(this.memory, time.toFixed(2));
      }
    } catch {
      // Storage is forbidden in this browser: the next replay begins at the start.
    }
  }

  /** @returns {number | null} null: it was not replayed here before, or to its end */
  recall() {
    try {
      const kept = localStorage.getItem(this.memory);
      return kept !== null && Number(kept) < this.index.duration_s ? Number(kept) : null;
    } catch {
      return null;
    }
  }

  // ---- what is wrong -----------------------------------------------------------------------

  /**
   * @param {unknown} error
   * @returns {boolean} whether to try again
   */
  fail(error) {
    console.warn(error);
    const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
    const passes = refusal === "unreachable" || refusal === "other";
    if (passes) this.notes.say("replay.failed");
    else this.notes.say(`refused.${refusal}.title`, `refused.${refusal}.text`);
    return passes;
  }
}

/** @param {Pictures} pictures */
function largeOf(pictures) {
  return pictures.large === "camera" || pictures.large === undefined ? "video" : pictures.large;
}

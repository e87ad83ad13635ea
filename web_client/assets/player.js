// @ts-check
/**
 * Replaying by Media Source Extensions, the doing half: fetches fragments in order from where
 * one seeked to, appends them, forgets what was played, and jumps over holes.
 */

import {
  entryPlace, forgettable, holeAt, holes, isBuffered, isComing, neighbour, nudge, placeAt, wanted,
} from "./replay.js";

/** @typedef {import("./replay.js").ReplayIndex} ReplayIndex */
/** @typedef {import("./replay.js").Span} Span */

/** Safari on phones has only the managed kind (Media Source Extensions 2). */
const Source = /** @type {typeof MediaSource | undefined} */ (
  /** @type {any} */ (globalThis).ManagedMediaSource ?? globalThis.MediaSource
);

const RETRY_MS = 2000;
const SEEK_ROOM_S = 1;
/** So far beyond the end of a recording there is nothing. */
const OVER_S = 0.1;
/** Browsers round positions to microseconds. */
const ROUNDING_S = 0.0005;

/**
 * @typedef {object} PlayerOptions
 * @property {HTMLVideoElement} video
 * @property {ReplayIndex} index
 * @property {(part: "init" | "fragment", number: number, last: number, signal: AbortSignal) => Promise<ArrayBuffer>} load
 *   those of these numbers
 * @property {(seq: number) => Promise<number[]>} [times] when the pictures of a fragment begin
 * @property {(error: unknown) => boolean} onError loading failed; whether to try again
 * @property {() => void} [onLoaded] loading has succeeded
 * @property {boolean} [follows] its position is another player's: it leaves holes to that one
 */

export class Player {
  /** @param {PlayerOptions} options */
  constructor({ video, index, load, times, onError, onLoaded, follows = false }) {
    this.video = video;
    this.index = index;
    this.load = load;
    this.times = times;
    this.onError = onError;
    this.onLoaded = onLoaded;
    this.follows = follows;
    this.holes = this.findHoles();
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    /** @type {MediaSource | null} */
    this.source = null;
    this.place = 0;
    /** The position at which loading began. */
    this.since = 0;
    /** @type {number | null} */
    this.init = null;
    this.busy = false;
    /** A seek that the buffer must be emptied for. */
    this.restart = false;
    /** @type {number | null} a seek of which the browser may have shown too late a picture */
    this.unsettled = null;
    this.abort = new AbortController();
    this.closing = new AbortController();
    this.frameAt = 0;
    /** Where the last seek led. */
    this.sought = 0;
    /** @type {Promise<void>} */
    this.stepping = Promise.resolve();
  }

  /** Whether this browser has what a player is made of. */
  static get isPossible() {
    return Source !== undefined;
  }

  /**
   * @param {number} [at] where to begin: nothing before it is read that need not be
   * @returns {boolean} whether this browser can play the recording
   */
  open(at = 0) {
    const { mime } = this.index;
    if (!Source?.isTypeSupported(mime)) return false;
    const source = new Source();
    this.source = source;
    const { signal } = this.closing;
    source.addEventListener("sourceopen", () => this.opened(source, mime, at), { once: true });
    for (const event of ["timeupdate", "waiting", "seeking", "playing"]) {
      this.video.addEventListener(event, () => this.moved(), { signal });
    }
    this.video.disableRemotePlayback = true;
    this.video.src = URL.createObjectURL(source);
    this.watchFrames();
    return true;
  }

  close() {
    this.closing.abort();
    this.abort.abort();
    this.video.pause();
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
    this.video.load();
  }

  /**
   * The recording has grown.
   * @param {ReplayIndex} index
   */
  grow(index) {
    this.index = index;
    this.holes = this.findHoles();
    void this.fill();
  }

  findHoles() {
    return this.follows ? [] : holes(this.index.fragments);
  }

  /** @param {number} time */
  seek(time) {
    const hole = holeAt(this.holes, time);
    const target = hole ? hole.end_s : time;
    this.video.currentTime = Math.min(Math.max(target, 0), this.index.duration_s - 0.01);
    this.sought = this.video.currentTime;
  }

  /**
   * Show the next or the previous picture. Steps that come faster than pictures all count.
   * @param {1 | -1} direction
   */
  step(direction) {
    this.video.pause();
    this.stepping = this.stepping.then(() => this.stepOnce(direction)).catch((error) => console.warn(error));
  }

  /** @param {1 | -1} direction */
  async stepOnce(direction) {
    const { currentTime } = this.video;
    // A seek shows the picture of its time; where playing was paused, the last one may be older.
    const shown = Math.abs(currentTime - this.sought) < ROUNDING_S ? currentTime : this.frameAt;
    const place = placeAt(this.index.fragments, shown);
    const around = this.index.fragments.slice(Math.max(0, place - 1), place + 2);
    const times = await Promise.all(around.map(({ seq }) => this.times?.(seq) ?? []));
    const target = neighbour(times.flat(), shown, direction);
    if (target !== null) this.seek(target);
  }

  /** @returns {Span[]} */
  buffered() {
    const ranges = this.buffer?.buffered;
    return Array.from({ length: ranges?.length ?? 0 }, (_, n) => ({
      start_s: /** @type {TimeRanges} */ (ranges).start(n),
      end_s: /** @type {TimeRanges} */ (ranges).end(n),
    }));
  }

  /**
   * @param {MediaSource} source
   * @param {string} mime
   * @param {number} at
   */
  opened(source, mime, at) {
    URL.revokeObjectURL(this.video.src);
    source.duration = this.index.duration_s;
    this.buffer = source.addSourceBuffer(mime);
    this.begin(at);
    void this.fill();
  }

  /** @param {number} at */
  begin(at) {
    const begin = Math.max(at, this.index.fragments[0]?.start_s ?? 0);
    // Whoever has sought a place meanwhile stays there, as does who follows another.
    if (!this.follows && this.video.currentTime < begin) this.seek(begin);
    this.since = this.video.currentTime;
    this.place = entryPlace(this.index.fragments, this.since);
  }

  /** The position has moved, by playing or by a seek, or playing has stalled. */
  moved() {
    const time = this.video.currentTime;
    // A picture that was loaded while it was not known what follows may last longer.
    if (this.index.state !== "recording" && time > this.index.duration_s + OVER_S) this.video.pause();
    const buffered = this.buffered();
    const onward = holeAt(this.holes, time)?.end_s ?? nudge(buffered, this.index.fragments, time);
    const loading = isBuffered(buffered, time) || isComing(this.index.fragments, this.place, time);
    if (onward !== null && !this.video.ended) {
      this.video.currentTime = onward;
    } else if (this.video.seeking && !loading) {
      this.restart = true;
      this.abort.abort();
    }
    void this.fill();
  }

  /** Load and append until enough is buffered; one at a time. */
  async fill() {
    if (this.busy || this.buffer === null) return;
    this.busy = true;
    try {
      this.lengthen();
      while (!this.closing.signal.aborted && (this.restart || this.wanted > 0)) await this.append();
      if (!this.closing.signal.aborted) this.endIfComplete();
    } catch (error) {
      if (this.closing.signal.aborted || !this.onError(error)) return;
      window.setTimeout(() => void this.fill(), RETRY_MS);
    } finally {
      this.busy = false;
    }
  }

  get wanted() {
    return wanted(this.index.fragments, this.place, this.video.currentTime, this.since);
  }

  async append() {
    if (this.restart) await this.startOver();
    const count = this.wanted;
    const first = this.index.fragments[this.place];
    const last = this.index.fragments[this.place + count - 1];
    if (first === undefined || last === undefined) return;
    try {
      const { signal } = this.abort;
      if (first.init !== this.init) await this.announce(first.init, signal);
      const bytes = await this.load("fragment", first.seq, last.seq, signal);
      for (const span of this.forgettable()) await this.forget(span);
      await this.feed(bytes);
      this.place += count;
      this.settle();
      this.onLoaded?.();
    } catch (error) {
      if (!this.restart) throw error; // a seek has aborted the loading
    }
  }

  /** Seek anew to what was shown of another place, once it is there. */
  settle() {
    const time = this.unsettled;
    if (time === null) return;
    const there = isBuffered(this.buffered(), time) || this.place >= this.index.fragments.length;
    if (!there) return;
    this.unsettled = null;
    if (this.video.currentTime === time && this.video.paused) this.video.currentTime = time;
  }

  async startOver() {
    const time = this.video.currentTime;
    this.restart = false;
    this.abort = new AbortController();
    this.since = time;
    this.place = entryPlace(this.index.fragments, time);
    // Chromium takes a seek to just before a buffered range for one to its start.
    const early = this.buffered().some(({ start_s }) => start_s > time && start_s - time <= SEEK_ROOM_S);
    this.unsettled = early ? time : null;
    if (this.buffered().length > 0) await this.forget({ start_s: 0, end_s: Infinity });
  }

  /**
   * @param {number} init
   * @param {AbortSignal} signal
   */
  async announce(init, signal) {
    const bytes = await this.load("init", init, init, signal);
    const mime = this.index.inits[init]?.mime ?? this.index.mime;
    if (this.init !== null && mime !== this.index.inits[this.init]?.mime) this.buffer?.changeType(mime);
    await this.feed(bytes);
    this.init = init;
  }

  /** @param {ArrayBuffer} bytes */
  async feed(bytes) {
    try {
      await this.update((buffer) => buffer.appendBuffer(bytes));
    } catch (error) {
      if (/** @type {DOMException} */ (error).name !== "QuotaExceededError") throw error;
      for (const span of this.forgettable(2)) await this.forget(span);
      await this.update((buffer) => buffer.appendBuffer(bytes));
    }
  }

  /** @param {number} [behind] seconds to keep behind the position */
  forgettable(behind) {
    return forgettable(this.buffered(), this.index.fragments, this.video.currentTime, behind);
  }

  /** @param {Span} span */
  forget(span) {
    return this.update((buffer) => buffer.remove(span.start_s, span.end_s));
  }

  /** @param {(buffer: SourceBuffer) => void} change */
  async update(change) {
    const buffer = this.buffer;
    if (buffer === null) return;
    await new Promise((resolve, reject) => {
      buffer.onupdateend = resolve;
      buffer.onerror = () => reject(new Error("the media was not accepted"));
      try {
        change(buffer);
      } catch (error) {
        reject(error);
      }
    });
  }

  /** Let the position go as far as the recording has grown. */
  lengthen() {
    if (this.source?.readyState !== "open" || this.buffer?.updating) return;
    if (this.source.duration < this.index.duration_s) this.source.duration = this.index.duration_s;
  }

  endIfComplete() {
    const complete = this.index.state !== "recording" && this.place >= this.index.fragments.length;
    if (complete && this.source?.readyState === "open") this.source.endOfStream();
  }

  /** Follow which picture is shown. */
  watchFrames() {
    this.video.requestVideoFrameCallback((_, { mediaTime }) => {
      this.frameAt = mediaTime;
      if (!this.closing.signal.aborted) this.watchFrames();
    });
  }
}

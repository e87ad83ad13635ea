// @ts-check
/** Which part of a recording is meant, as a person writes and marks it. Pure; times in seconds. */

/** @typedef {{start: number, end: number}} Clip */

/** A mark moves the other one to at least this far away, where both would be in the wrong order. */
export const SHORTEST_S = 1;

/**
 * Of `[[h:]mm:]ss[.fff]`.
 * @param {string} text
 * @returns {number | null} null: it is no time
 */
export function parseMoment(text) {
  const plain = text.trim().replaceAll("：", ":").replace(/[,，]/, ".");
  if (!/^(\d+:){0,2}\d+(\.\d*)?$/.test(plain)) return null;
  return plain.split(":").reduce((seconds, part) => 60 * seconds + Number(part), 0);
}

/**
 * What `parseMoment` takes, to a tenth of a second.
 * @param {number} seconds
 */
export function momentText(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const h = Math.floor(tenths / 36_000);
  const m = Math.floor(tenths / 600) % 60;
  const s = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return h > 0 ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
}

/**
 * The clip after one of its ends was marked; the other end gives way.
 * @param {Clip} clip
 * @param {"start" | "end"} which
 * @param {number} time
 * @param {number} duration of the recording
 * @returns {Clip}
 */
export function marked(clip, which, time, duration) {
  const at = Math.min(Math.max(time, 0), duration);
  if (which === "start") {
    return { start: at, end: clip.end > at ? clip.end : Math.min(duration, at + SHORTEST_S) };
  }
  return { start: clip.start < at ? clip.start : Math.max(0, at - SHORTEST_S), end: at };
}

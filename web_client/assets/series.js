// @ts-check
/** The recent past of one indicator: points in media time. Pure. */

/** How much of the past is kept and shown, in seconds. */
export const WINDOW_S = 60;
/** Values further apart than this are not joined: nothing was measured between them. */
export const JOIN_LIMIT_S = 2.5;

/** @typedef {{at: number, value: number | null}} Point `at` in Unix seconds */

export class Series {
  /** @param {number} joinLimit in seconds */
  constructor(joinLimit = JOIN_LIMIT_S) {
    this.joinLimit = joinLimit;
    /** @type {Point[]} */
    this.points = [];
  }

  /** The newest value; null when it could not be measured or nothing came yet. */
  get latest() {
    return this.points.at(-1)?.value ?? null;
  }

  /**
   * Add a value; what is older than the newest is dropped.
   * @param {number} at
   * @param {number | null} value
   */
  add(at, value) {
    const last = this.points.at(-1);
    if (last !== undefined && at <= last.at) return;
    this.points.push({ at, value });
    const oldest = at - WINDOW_S - this.joinLimit;
    const kept = this.points.findIndex((point) => point.at >= oldest);
    if (kept > 0) this.points.splice(0, kept);
  }

  /**
   * The measured stretches since `from`, to be drawn as one line each.
   * @param {number} from
   * @returns {{at: number, value: number}[][]}
   */
  stretches(from) {
    /** @type {{at: number, value: number}[][]} */
    const lines = [];
    let lastAt = -Infinity;
    for (const { at, value } of this.points) {
      if (value === null || at < from - this.joinLimit) {
        lastAt = -Infinity;
        continue;
      }
      if (at - lastAt > this.joinLimit) lines.push([]);
      lines.at(-1)?.push({ at, value });
      lastAt = at;
    }
    return lines;
  }

  /**
   * Lowest, mean and highest measured value since `from`.
   * @param {number} from
   * @returns {{lowest: number, mean: number, highest: number} | null}
   */
  summary(from) {
    const values = this.stretches(from).flat().map((point) => point.value);
    if (values.length === 0) return null;
    const sum = values.reduce((total, value) => total + value, 0);
    return { lowest: Math.min(...values), mean: sum / values.length, highest: Math.max(...values) };
  }
}

// @ts-check
/** The countdown to another attempt, where a refusal said when. Pure: the time is an argument. */

/** So that all who were refused don't come back in one instant. */
const SPREAD = 0.25;

export class Retry {
  constructor() {
    /** @type {number | null} */
    this.atMs = null;
  }

  /**
   * @param {number} afterS as the server said
   * @param {number} nowMs
   * @param {number} random 0..1
   */
  begin(afterS, nowMs, random) {
    this.atMs = nowMs + 1000 * afterS * (1 + SPREAD * random);
  }

  clear() {
    this.atMs = null;
  }

  get waiting() {
    return this.atMs !== null;
  }

  /**
   * What a person is shown: whole seconds, 0 at the end.
   * @param {number} nowMs
   */
  leftS(nowMs) {
    return this.atMs === null ? 0 : Math.max(0, Math.ceil((this.atMs - nowMs) / 1000));
  }

  /**
   * Whether it is time; true once.
   * @param {number} nowMs
   */
  due(nowMs) {
    if (this.atMs === null || nowMs < this.atMs) return false;
    this.clear();
    return true;
  }
}

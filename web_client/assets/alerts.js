// @ts-check
/** What observers were alerted to: active ones first, then what ended lately. Pure. */

/** @typedef {import("./protocol.js").Alert} Alert */
/** @typedef {{id: string, sinceS: number, endedS: number | null}} Entry */

const ENTRIES_LIMIT = 6;

export const KNOWN_ALERTS = /** @type {const} */ ([
  "audio-lost",
  "silence",
  "video-frozen",
  "no-face",
  "several-faces",
  "too-dark",
  "poor-connection",
  "recording-failed",
  "disk-filling",
  "store-behind",
  "sound-only",
]);

/** Nothing is at risk, and nobody here has to act. */
const QUIET_ALERTS = ["store-behind"];

/** @typedef {(typeof KNOWN_ALERTS)[number]} KnownAlert */

/**
 * @param {string} id
 * @returns {id is KnownAlert}
 */
export function isKnownAlert(id) {
  return /** @type {readonly string[]} */ (KNOWN_ALERTS).includes(id);
}

/** @param {string} id */
export function isQuiet(id) {
  return QUIET_ALERTS.includes(id);
}

export class AlertLog {
  constructor() {
    /** @type {Entry[]} */
    this.entries = [];
  }

  /**
   * Take an alert's beginning or end; the same said twice changes nothing.
   * @param {Alert} alert
   * @param {number} nowS when it was received, on the server's clock
   * @returns {boolean} whether there is something new to say
   */
  take(alert, nowS) {
    const open = this.entries.find((entry) => entry.id === alert.id && entry.endedS === null);
    if (alert.active === (open !== undefined)) return false;
    if (open !== undefined) open.endedS = nowS;
    else this.entries.unshift({ id: alert.id, sinceS: alert.since_s, endedS: null });
    this.order();
    return true;
  }

  /** @param {KnownAlert} id */
  isActive(id) {
    return this.entries.some((entry) => entry.id === id && entry.endedS === null);
  }

  /**
   * The interview has ended, and with it what was active.
   * @param {number} nowS
   */
  endAll(nowS) {
    for (const entry of this.entries) entry.endedS ??= nowS;
    this.order();
  }

  /** Forget what was active: after a reconnect the server says anew what is. */
  forgetActive() {
    this.entries = this.entries.filter((entry) => entry.endedS !== null);
  }

  order() {
    const when = (/** @type {Entry} */ entry) => (entry.endedS === null ? Infinity : entry.endedS);
    this.entries.sort((a, b) => (when(a) === when(b) ? b.sinceS - a.sinceS : when(b) - when(a)));
    this.entries.length = Math.min(this.entries.length, ENTRIES_LIMIT);
  }
}

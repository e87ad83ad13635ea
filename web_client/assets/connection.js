// @ts-check
/**
 * The life of the signalling connection as a table, without I/O or clocks: the shell in
 * `signaling.js` feeds events in and does what the returned state asks for.
 *
 * @typedef {"idle" | "connecting" | "greeting" | "online" | "waiting" | "stopped"} State
 * @typedef {"start" | "open" | "welcome" | "lost" | "retry" | "refused" | "stop"} Event
 */

/** @type {Record<State, Partial<Record<Event, State>>>} */
export const TRANSITIONS = {
  idle: { start: "connecting", stop: "stopped" },
  connecting: { open: "greeting", lost: "waiting", stop: "stopped" },
  greeting: { welcome: "online", lost: "waiting", refused: "stopped", stop: "stopped" },
  online: { lost: "waiting", refused: "stopped", stop: "stopped" },
  waiting: { retry: "connecting", stop: "stopped" },
  stopped: { start: "connecting" },
};

/** First pause before trying again, in milliseconds; it doubles up to the longest. */
export const FIRST_DELAY_MS = 400;
export const LONGEST_DELAY_MS = 2000;

/** The current state and how many attempts in a row have failed. */
export class Connection {
  constructor() {
    /** @type {State} */
    this.state = "idle";
    this.failures = 0;
  }

  /**
   * Take one event. Events that mean nothing in the current state (a late close of a socket
   * already given up, a second stop) are refused with false.
   * @param {Event} event
   * @returns {boolean} whether the state changed
   */
  on(event) {
    const next = TRANSITIONS[this.state][event];
    if (next === undefined) return false;
    if (next === "online" || event === "start") this.failures = 0;
    if (next === "waiting") this.failures += 1;
    this.state = next;
    return true;
  }

  /**
   * How long to wait before `retry`: exponential with jitter, so that a restarted server is
   * not met by everybody in the same instant.
   * @param {number} random 0..1
   */
  delayMs(random) {
    const exponent = Math.min(Math.max(this.failures, 1) - 1, 16);
    const full = Math.min(FIRST_DELAY_MS * 2 ** exponent, LONGEST_DELAY_MS);
    return Math.round(full * (0.5 + random / 2));
  }
}

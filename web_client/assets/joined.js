// @ts-check
/** That this tab has joined with this link, and by which devices: after a reload it goes on. */

/** @typedef {import("./devices.js").Choice} Choice */

const STORAGE_KEY = "vivavoce.joined";

export class Joined {
  /** @param {string} token */
  constructor(token) {
    this.token = token;
  }

  /**
   * @param {Choice} choice
   * @param {boolean} [replaced] by another tab: this one is not to take over by itself
   */
  remember(choice, replaced = false) {
    sessionStorage.setItem(STORAGE_KEY, JSON.stringify({ token: this.token, choice, replaced }));
  }

  forget() {
    sessionStorage.removeItem(STORAGE_KEY);
  }

  /** @returns {{choice: Choice, replaced: boolean} | null} of an interview that a reload has interrupted */
  get before() {
    try {
      const stored = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "null");
      return stored?.token === this.token ? stored : null;
    } catch {
      return null;
    }
  }
}

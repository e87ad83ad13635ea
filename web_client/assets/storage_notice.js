// @ts-check
/** What threatens the recordings of this server, or may, for those who run interviews. */

import { create } from "./dom.js";
import { setText } from "./i18n.js";

/** @typedef {import("./api.js").StorageItem} StorageItem */

export class StorageNotice {
  /** @param {HTMLElement} root whose changes are read out */
  constructor(root) {
    this.root = root;
    this.shown = "";
    this.wasBehind = false;
  }

  /** @param {readonly StorageItem[]} items what holds now */
  show(items) {
    const behind = items.some((item) => item.id === "store-behind");
    /** @type {("home.store-behind" | "home.disk-filling" | "home.store-caught-up")[]} */
    const keys = items.map((item) => /** @type {const} */ (`home.${item.id}`));
    keys.sort((a, b) => toneOf(a).localeCompare(toneOf(b))); // alarms first
    if (this.wasBehind && !behind) keys.push("home.store-caught-up");
    this.wasBehind ||= behind;
    if (keys.join() === this.shown) return;
    this.shown = keys.join();
    this.root.replaceChildren(...keys.map((key) => notice(key)));
  }
}

/** @param {"home.store-behind" | "home.disk-filling" | "home.store-caught-up"} key */
function notice(key) {
  const made = create("p", "notice");
  made.dataset.tone = toneOf(key);
  setText(made, key);
  return made;
}

/** @param {string} key */
function toneOf(key) {
  return key === "home.disk-filling" ? "bad" : "wait";
}

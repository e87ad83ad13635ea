// @ts-check
/** The replay's keyboard shortcuts: which there are, and what tells of them. */

import { byId, create, element } from "./dom.js";
import { t } from "./i18n.js";

/**
 * @typedef {"play" | "back" | "forward" | "far-back" | "far-forward" | "frame-back" | "frame" | "start" |
 *   "end" | "louder" | "quieter" | "mute" | "full-screen" | "clip-start" | "clip-end" | "help"} Act
 */

/** @type {Record<string, Act>} by `KeyboardEvent.key` */
const KEYS = {
  " ": "play", k: "play", ArrowLeft: "back", ArrowRight: "forward", j: "far-back", l: "far-forward",
  ",": "frame-back", ".": "frame", Home: "start", End: "end", ArrowUp: "louder", ArrowDown: "quieter",
  m: "mute", f: "full-screen", i: "clip-start", o: "clip-end", "?": "help",
};
/** @type {[string[], import("./i18n.js").Key][]} as the help tells of them */
const HELP = [
  [["Space", "K"], "keys.play"],
  [["←", "→"], "keys.jump"],
  [["J", "L"], "keys.far-jump"],
  [[",", "."], "keys.frame"],
  [["Home", "End"], "keys.ends"],
  [["I", "O"], "keys.clip"],
  [["↑", "↓"], "keys.volume"],
  [["M"], "keys.mute"],
  [["F"], "keys.full-screen"],
  [["?"], "keys.help"],
];

/**
 * What a key asks for; null where it belongs to what has the focus, or to nothing.
 * @param {Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey">} event
 * @param {Element | null} target
 * @returns {Act | null}
 */
export function actOf(event, target) {
  if (event.ctrlKey || event.metaKey || event.altKey || target?.closest("select, dialog, input[type=text]")) return null;
  const presses = event.key === " " && target?.closest("button, a, input[type=checkbox], input[type=radio]");
  const slides = event.key.startsWith("Arrow") && target?.closest("#volume, input[type=radio]");
  if (presses || slides) return null;
  return KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key] ?? null;
}

/** The overlay with all keys, in the current language. */
export function showHelp() {
  byId("keys-list").replaceChildren(
    ...HELP.flatMap(([keys, text]) => [
      create("dt", "", ...keys.map((key) => create("kbd", "", key))),
      create("dd", "", t(text)),
    ]),
  );
  element("keys-dialog", HTMLDialogElement).showModal();
}

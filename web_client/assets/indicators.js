// @ts-check
/** The indicators an observer sees (`docs/indicators.md`): group, unit and range. Pure. */

/**
 * @typedef {"voice" | "speech" | "face" | "picture" | "connection"} Group
 * @typedef {object} Meaning
 * @property {Group} group
 * @property {string} unit as shown; `per-minute` is a word and stands in the dictionary
 * @property {number} [times] what the value is multiplied by to be in that unit
 * @property {number} decimals
 * @property {number} [lasts] seconds for which a value counts, where they come seldom
 * @property {[number, number]} range of the chart, in the shown unit; it grows where values exceed it
 */

/** @type {Group[]} */
export const GROUPS = ["voice", "speech", "face", "picture", "connection"];

/** @satisfies {Record<string, Meaning>} */
export const INDICATORS = {
  "voice.loudness": { group: "voice", unit: "dBFS", decimals: 0, range: [-70, 0] },
  "voice.pitch": { group: "voice", unit: "Hz", decimals: 0, range: [60, 400] },
  "voice.clipping": { group: "voice", unit: "%", times: 100, decimals: 1, range: [0, 5] },
  "voice.speaking": { group: "speech", unit: "%", times: 100, decimals: 0, range: [0, 100] },
  "speech.ratio": { group: "speech", unit: "%", times: 100, decimals: 0, range: [0, 100] },
  "speech.ratio_total": { group: "speech", unit: "%", times: 100, decimals: 0, range: [0, 100] },
  "speech.pause": { group: "speech", unit: "s", decimals: 1, range: [0, 10] },
  "speech.pauses": { group: "speech", unit: "per-minute", decimals: 0, range: [0, 30] },
  "speech.pause_mean": { group: "speech", unit: "s", decimals: 2, range: [0, 3] },
  "face.count": { group: "face", unit: "", decimals: 0, range: [0, 3] },
  "face.size": { group: "face", unit: "%", times: 100, decimals: 0, range: [0, 100] },
  "picture.light": { group: "picture", unit: "%", times: 100, decimals: 0, range: [0, 100] },
  "picture.contrast": { group: "picture", unit: "%", times: 100, decimals: 0, range: [0, 100] },
  "picture.backlight": { group: "picture", unit: "%", times: 100, decimals: 0, range: [-50, 50] },
  "picture.sharpness": { group: "picture", unit: "luma²", decimals: 0, lasts: 10, range: [0, 500] },
  "picture.frozen": { group: "picture", unit: "s", decimals: 1, range: [0, 5] },
  "network.bitrate": { group: "connection", unit: "kbit/s", times: 0.001, decimals: 0, range: [0, 1500] },
  "network.loss": { group: "connection", unit: "%", times: 100, decimals: 1, range: [0, 10] },
  "network.jitter": { group: "connection", unit: "ms", decimals: 0, range: [0, 100] },
  "network.round_trip": { group: "connection", unit: "ms", decimals: 0, range: [0, 500] },
};

/** @typedef {keyof typeof INDICATORS} IndicatorName */

/** @type {IndicatorName[]} */
export const INDICATOR_NAMES = /** @type {IndicatorName[]} */ (Object.keys(INDICATORS));

/**
 * @param {string} name
 * @returns {name is IndicatorName}
 */
export function isKnown(name) {
  return Object.hasOwn(INDICATORS, name);
}

/**
 * The value in the unit it is shown in.
 * @param {Meaning} meaning
 * @param {number | null} value as the server sent it
 */
export function shown(meaning, value) {
  return value === null ? null : value * (meaning.times ?? 1);
}

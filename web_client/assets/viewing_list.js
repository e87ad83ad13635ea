// @ts-check
/** Who read which seconds of a recording, as a list. */

import { create } from "./dom.js";
import { clock, dateTime } from "./format.js";
import { locale, t } from "./i18n.js";

/** @typedef {import("./api.js").Viewing} Viewing */

/** Rows this near to each other in both times are one viewing to a person: pictures are read side by side. */
const TOGETHER_S = 60;
const TOUCHING_S = 1.5;

/**
 * What a person would call one viewing.
 * @param {readonly Viewing[]} viewings in the order they began
 * @returns {Viewing[]}
 */
export function joined(viewings) {
  /** @type {Viewing[]} */
  const found = [];
  for (const next of viewings) {
    const same = found.find(
      (one) =>
        one.role === next.role && one.link === next.link && one.way === next.way && one.way !== "export" &&
        next.began_s - one.last_s <= TOGETHER_S &&
        next.start_s <= one.end_s + TOUCHING_S && next.end_s >= one.start_s - TOUCHING_S,
    );
    if (same === undefined) {
      found.push({ ...next });
      continue;
    }
    same.last_s = Math.max(same.last_s, next.last_s);
    same.start_s = Math.min(same.start_s, next.start_s);
    same.end_s = Math.max(same.end_s, next.end_s);
  }
  return found;
}

/** @param {Viewing} viewing */
function item(viewing) {
  const who = viewing.role === null ? t("viewings.operator") : t(`viewings.${viewing.role}`);
  const seconds = `${clock(viewing.start_s)}–${clock(viewing.end_s)}`;
  const when = create("time", "viewing-when", dateTime(viewing.began_s, locale()));
  when.dateTime = new Date(viewing.began_s * 1000).toISOString();
  const what = create("span", "muted", t(`viewings.by-${viewing.way}`, { seconds }));
  return create("li", "viewing", create("span", "viewing-who", who), when, what);
}

/**
 * The newest first, into `list`; `none` is shown where there is nothing.
 * @param {HTMLElement} list
 * @param {HTMLElement} none
 * @param {readonly Viewing[]} viewings
 */
export function showViewings(list, none, viewings) {
  list.replaceChildren(...joined(viewings).reverse().map(item));
  none.hidden = viewings.length > 0;
}

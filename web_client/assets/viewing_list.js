// @ts-check
/** Who read which seconds of a recording, as a list. */

import { create } from "./dom.js";
import { clock, dateTime } from "./format.js";
import { locale, t } from "./i18n.js";

/** @typedef {import("./api.js").Viewing} Viewing */

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
  list.replaceChildren(...[...viewings].reverse().map(item));
  none.hidden = viewings.length > 0;
}

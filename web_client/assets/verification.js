// @ts-check
/** Asking the server to verify a recording, and showing what it found. */

import { byId, create, element } from "./dom.js";
import { clock } from "./format.js";
import { setText, t } from "./i18n.js";

/** @typedef {import("./api.js").Verification} Verification */

/** Those of a recording whose manifest can be read, as `vivavoce verify` has them. */
const KINDS = /** @type {const} */ ([
  "truncated", "tampered", "reordered", "wrong key", "foreign", "missing", "unexpected", "rolled back",
]);

/**
 * @param {import("./api.js").Api} api
 * @param {string} interview
 */
export async function showVerification(api, interview) {
  const button = element("verify", HTMLButtonElement);
  button.disabled = true;
  say("wait", "verify.running", {}, []);
  try {
    const report = await api.verify(interview);
    if (report.intact) say("good", "verify.intact", {}, []);
    else say("bad", "verify.broken", { n: report.faults.length }, report.faults.map(faultText));
  } catch (error) {
    console.warn(error);
    say("wait", "verify.failed", {}, []);
  }
  button.disabled = false;
}

/** @param {Verification["faults"][number]} fault */
function faultText({ kind, file, start_s, end_s, message }) {
  const known = KINDS.find((each) => each === kind);
  const what = known ? t(`verify.${known}`) : kind;
  const when = start_s === null ? "" : ` ${clock(start_s)}–${clock(end_s ?? start_s)}`;
  return `${what}${when} (${file}: ${message})`;
}

/**
 * @param {"good" | "wait" | "bad"} tone
 * @param {import("./i18n.js").Key} key
 * @param {import("./i18n.js").Params} params
 * @param {string[]} faults
 */
function say(tone, key, params, faults) {
  const result = byId("verify-result");
  result.dataset.tone = tone;
  result.hidden = false;
  setText(byId("verify-verdict"), key, params);
  byId("verify-faults").replaceChildren(...faults.map((fault) => create("li", "", fault)));
}

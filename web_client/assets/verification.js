// @ts-check
/** Asking the server to verify a recording, and showing what it found. */

import { byId, create, element } from "./dom.js";
import { clock } from "./format.js";
import { setText } from "./i18n.js";

/** @typedef {import("./api.js").Verification} Verification */

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
function faultText(fault) {
  const at = fault.start_s == null ? "" : ` (${clock(fault.start_s)}–${clock(fault.end_s ?? fault.start_s)})`;
  return `${fault.file}${at}: ${fault.message}`;
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

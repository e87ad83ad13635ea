// @ts-check
/** The candidate's receipt, once the recording is sealed: for the page to offer as a file. */

import { ApiError } from "./api.js";
import { byId, element } from "./dom.js";
import { setText } from "./i18n.js";

/** A recording is sealed within a second or two of its end; a loaded disk may take longer. */
const ATTEMPTS = 20;
const RETRY_MS = 1000;

/** The newest call is the one that is shown. */
let current = 0;
let address = "";

/**
 * Show the receipt's place, and the file in it as soon as there is one; nothing where nothing was
 * recorded. While an interview runs there is none: then ask once.
 * @param {import("./api.js").Api} api
 * @param {string} interview
 * @param {{ended: boolean}} how
 */
export async function offerReceipt(api, interview, { ended }) {
  const call = (current += 1);
  byId("receipt").hidden = true;
  for (let attempt = 0; attempt < (ended ? ATTEMPTS : 1); attempt += 1) {
    if (attempt > 0) await new Promise((wake) => window.setTimeout(wake, RETRY_MS));
    if (call !== current) return;
    try {
      const file = await api.receipt(interview);
      if (call === current) showFile(file, interview);
      return;
    } catch (error) {
      const id = error instanceof ApiError ? error.id : "internal";
      if (id === "not-found" || call !== current) return;
      if (ended) showStatus("receipt.wait");
    }
  }
  showStatus("receipt.none");
}

/** Hide it: the interview goes on. */
export function withdrawReceipt() {
  current += 1;
  byId("receipt").hidden = true;
}

/** @param {import("./i18n.js").Key} text */
function showStatus(text) {
  byId("receipt").hidden = false; // first: only what changes in sight is read out
  setText(byId("receipt-text"), text);
  byId("receipt-file").hidden = true;
}

/**
 * @param {Blob} file
 * @param {string} interview
 */
function showFile(file, interview) {
  showStatus("receipt.text");
  URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  const link = element("receipt-file", HTMLAnchorElement);
  link.href = address;
  link.download = `vivavoce-receipt-${interview}.json`;
  link.hidden = false;
}

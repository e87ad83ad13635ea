// @ts-check
/**
 * The observer's connection. It imports little and needs nothing of the page, so that a socket is
 * opened and a connection offered while the rest still comes.
 */

import { linkToken } from "./link.js";
import { Signaling } from "./signaling.js";
import { Watcher } from "./watcher.js";

export const token = linkToken();
/** An owner's link is for all interviews: the address says which. */
const ofOwner = new URLSearchParams(location.search).get("interview");

export const watcher = new Watcher(new Signaling(token, ofOwner), ["first", "screen", "second"]);
watcher.offerAtOnce();
if (token) watcher.signaling.start();

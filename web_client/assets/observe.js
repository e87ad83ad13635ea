// @ts-check
/** The observer's page: one interview, live. */

import { byId, element, linkToken, reloadOnNewLink, showStage } from "./dom.js";
import { initLanguage, onLanguage, setText, t } from "./i18n.js";
import { showRefused } from "./over_view.js";
import { homeOf, refusalOf } from "./refusal.js";
import { Signaling } from "./signaling.js";
import { Watching } from "./watching.js";

const token = linkToken();
/** An owner's link is for all interviews: the address says which. */
const ofOwner = new URLSearchParams(location.search).get("interview");
let title = "";

const signaling = new Signaling(token, {
  onMessage: (message) => {
    if (message.type === "welcome") welcome(message);
    watching.receive(message);
  },
  onState: () => {
    byId("loading-text").hidden = signaling.connection.failures > 0;
    byId("loading-retry").hidden = signaling.connection.failures === 0;
    setText(byId("loading-retry"), watching.restarting ? "loading.restarting" : "loading.retrying");
    watching.signalingMoved();
  },
  onRefused: (error) => {
    watching.watcher.stop();
    showRefused(refusalOf(error.id));
  },
}, ofOwner);
const watching = new Watching(signaling, { interviewer: byId("picture-interviewer") }, showSound);

/** @param {import("./protocol.js").Welcome} message */
function welcome(message) {
  // Whoever speaks belongs on another page.
  const home = homeOf(message.role);
  if (home === "/join" || home === "/interview") return location.replace(`${home}#${token}`);
  title = message.interview.title;
  byId("interview-title").textContent = title;
  element("to-recording", HTMLAnchorElement).href =
    `/recordings?interview=${encodeURIComponent(message.interview.id)}#${token}`;
  if (document.body.dataset.at !== "watch") showStage("watch");
}

function showSound() {
  const { muted } = watching.watcher;
  setText(byId("mute-text"), muted ? "watch.unmute" : "watch.mute");
  element("mute-icon", SVGUseElement).setAttribute("href", `/assets/icons.svg#${muted ? "muted" : "speaker"}`);
}

initLanguage();
onLanguage(() => {
  document.title = `${title || t("watch.page")} · Vivavoce`;
});
reloadOnNewLink();
element("home", HTMLAnchorElement).href = `/#${token}`;
byId("mute").addEventListener("click", () => watching.watcher.mute(!watching.watcher.muted));
if (token) signaling.start();
else showRefused("missing");

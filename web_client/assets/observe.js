// @ts-check
/** The observer's page: one interview, live. */

import { byId, element, iconHref, showStage } from "./dom.js";
import { initLanguage, onLanguage, setText, t } from "./i18n.js";
import { reloadOnNewLink } from "./link.js";
import { showRefused } from "./over_view.js";
import { homeOf, refusalOf } from "./refusal.js";
import { token, watcher } from "./observing.js";
import { Watching } from "./watching.js";

const { signaling } = watcher;
watcher.playOn({
  first: element("video", HTMLVideoElement),
  screen: element("screen", HTMLVideoElement),
  second: element("interviewer", HTMLVideoElement),
});
let title = "";

const watching = new Watching(watcher, { interviewer: byId("picture-interviewer") }, showSound);
signaling.listen({
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
    watcher.stop();
    showRefused(refusalOf(error.id));
  },
});

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
  const { muted } = watcher;
  setText(byId("mute-text"), muted ? "watch.unmute" : "watch.mute");
  element("mute-icon", SVGUseElement).setAttribute("href", iconHref(muted ? "muted" : "speaker"));
}

initLanguage();
onLanguage(() => {
  document.title = `${title || t("watch.page")} · Vivavoce`;
});
reloadOnNewLink();
element("home", HTMLAnchorElement).href = `/#${token}`;
byId("mute").addEventListener("click", () => watcher.mute(!watcher.muted));
if (!token) showRefused("missing");

// @ts-check
/** The interviewer's page: device check, then the interview: talking, and seeing it live. */

import { Api, ApiError } from "./api.js";
import { Call } from "./call.js";
import { DeviceCheck } from "./device_check.js";
import { byId, element } from "./dom.js";
import { initLanguage, onLanguage, t } from "./i18n.js";
import { Joined } from "./joined.js";
import { linkToken, reloadOnNewLink } from "./link.js";
import { showOver, showRefused } from "./over_view.js";
import { homeOf, refusalOf } from "./refusal.js";
import { Watcher } from "./watcher.js";
import { Watching } from "./watching.js";

const RETRY_MS = 3000;

const token = linkToken();
const joined = new Joined(token);
let title = "";

const check = new DeviceCheck((stream, choice) => {
  joined.remember(choice);
  call.start(stream, choice);
});

const call = new Call(token, {
  onOver: (reason) => {
    watcher.stop();
    if (reason === "left") joined.forget();
    else joined.remember(call.choice, true);
    over(reason === "left");
  },
  onRefused: (refusal) => {
    watcher.stop();
    showRefused(refusal);
  },
  onChoice: (choice) => joined.remember(choice),
  onMessage: (message) => watching.receive(message),
  onSignaling: () => watching.signalingMoved(),
});
const watcher = new Watcher(call.signaling, ["first", "screen"]);
watcher.playOn({ first: element("video", HTMLVideoElement), screen: element("screen", HTMLVideoElement) });
const watching = new Watching(watcher, { self: byId("picture-self") });
watcher.offerAtOnce();

/** @param {boolean} left else replaced */
function over(left) {
  const choice = joined.before?.choice ?? {};
  showOver(
    {
      title: left ? "over.interviewer-left.title" : "over.interviewer-replaced.title",
      text: left ? "over.interviewer-left.text" : "over.interviewer-replaced.text",
      tone: left ? "good" : "wait",
      act: left ? "over.left.act" : "over.replaced.act",
    },
    () => void (left ? check.start(choice) : check.resume(choice)),
  );
}

async function open() {
  if (!token) return showRefused("missing");
  try {
    const me = await new Api(token).me();
    if (me.role !== "interviewer") return location.replace(`${homeOf(me.role)}#${token}`);
    title = me.interview?.title ?? "";
  } catch (error) {
    const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
    if (refusal === "unreachable") window.setTimeout(() => void open(), RETRY_MS);
    return showRefused(refusal);
  }
  byId("interview-title").textContent = title;
  const { before } = joined;
  if (before?.replaced) over(false);
  else if (before === null) await check.start({});
  else await check.resume(before.choice);
}

initLanguage();
onLanguage(() => {
  document.title = `${title || t("interview.page")} · Vivavoce`;
});
reloadOnNewLink();
void open();

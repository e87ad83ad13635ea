// @ts-check
/** The recordings' page: the list, and replay of one. */

import { Api, ApiError } from "./api.js";
import { byId, create, element, icon, showStage } from "./dom.js";
import { clock, dateTime, size } from "./format.js";
import { initLanguage, locale, onLanguage, setText, t } from "./i18n.js";
import { linkToken, reloadOnNewLink } from "./link.js";
import { refusalOf } from "./refusal.js";
import { ReplayView } from "./replay_view.js";
import { showViewings } from "./viewing_list.js";

/** @typedef {import("./api.js").RecordingSummary} RecordingSummary */

const token = linkToken();
const api = new Api(token);
/** @type {RecordingSummary[]} */
let recordings = [];
/** The only interview that the link is for. */
/** @type {string | null} */
let own = null;
/** @type {ReplayView | null} */
let view = null;
/** The recording that is being shown, to be said again in another language. */
/** @type {RecordingSummary | null} */
let shown = null;
/** @type {import("./api.js").Viewing[]} */
let viewings = [];
/** When the facts of the shown recording were read. */
let factsAt = 0;

/** How often a first recording is looked for. */
const WAITING_INTERVAL_MS = 3000;
/** How often the list of who has seen the shown recording is read anew, */
const VIEWINGS_INTERVAL_MS = 30_000;
/** and when first: by then one's own viewing is in it. */
const OWN_VIEWING_MS = 2000;
/** How often the size and the gaps of a recording that grows are read anew. */
const FACTS_INTERVAL_MS = 10_000;

/** @param {RecordingSummary} recording */
function title(recording) {
  return recording.title || t("recordings.locked"); // every interview has a title, sealed with its key
}

/** @param {number} count */
function gapsText(count) {
  if (count > 1) return t("recordings.gaps", { n: count });
  return t(count === 1 ? "recordings.one-gap" : "recordings.no-gaps");
}

/** @param {RecordingSummary} recording */
function compressedText({ compressed, source_bytes, left, made }) {
  if (compressed) {
    if (source_bytes === null) return t("recordings.compressed");
    return t("recordings.compressed-from", { size: size(source_bytes, locale()) });
  }
  if (left !== null) return t(`recordings.left.${left}`);
  return made === null ? "" : t("recordings.compressing", { percent: Math.floor(made * 100) });
}

/** @param {RecordingSummary} recording */
function facts(recording) {
  const parts = [
    recording.started_s === null ? "" : dateTime(recording.started_s, locale()),
    clock(recording.duration_s),
    recording.tracks.includes("camera") ? "" : t("recordings.without-picture"),
    recording.tracks.includes("microphone") ? "" : t("recordings.without-sound"),
    size(recording.bytes, locale()),
    gapsText(recording.gaps),
    compressedText(recording),
  ];
  return parts.filter(Boolean).join(" · ");
}

/** @param {RecordingSummary} recording */
function item(recording) {
  const state = create("span", "pill");
  state.dataset.tone = { recording: "bad", finished: "good", interrupted: "wait" }[recording.state];
  setText(state, `recordings.${recording.state}`);
  const link = create("a", "button primary", icon("play"), create("span", "", t("recordings.play")));
  link.href = address(recording.interview_id);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    void route();
  });
  const text = create("div", "item-text", create("h2", "", title(recording)), create("p", "muted", facts(recording)));
  return create("li", "card item", text, state, link);
}

/** @param {string} [interview] */
function address(interview) {
  return `/recordings${interview ? `?interview=${interview}` : ""}#${token}`;
}

function showList() {
  const newestFirst = [...recordings].sort((a, b) => (b.started_s ?? 0) - (a.started_s ?? 0));
  byId("recordings").replaceChildren(...newestFirst.map(item));
  byId("no-recordings").hidden = recordings.length > 0;
  showStage("list");
}

/** @param {RecordingSummary} recording */
async function showReplay(recording) {
  // What is shown later moves what is shown already, so all of it is asked for first.
  const { interview_id } = recording;
  const [index, exports, seen] = await Promise.all([
    api.replayIndex(interview_id),
    orNone(api.exports(interview_id)),
    orNone(api.viewings(interview_id)),
  ]);
  const wanted = Number(new URLSearchParams(location.search).get("t") ?? NaN);
  shown = recording;
  viewings = seen;
  sayShown();
  sayViewings();
  byId("to-list").hidden = recordings.length < 2;
  showStage("replay");
  view = new ReplayView(api, interview_id, index, exports, {
    at: Number.isFinite(wanted) && wanted >= 0 ? wanted : null,
    onGrowth: grow,
    onRead: () => void refreshViewings().catch(console.warn),
  });
  window.setTimeout(() => void refreshViewings().catch(console.warn), OWN_VIEWING_MS);
}

/**
 * What a replay can do without for now: it is asked for again.
 * @template T
 * @param {Promise<T[]>} asked
 * @returns {Promise<T[]>}
 */
function orNone(asked) {
  return asked.catch((error) => {
    console.warn(error);
    return [];
  });
}

/** @param {import("./replay.js").ReplayIndex} index of the recording that is being shown */
function grow({ state, duration_s }) {
  if (shown === null) return;
  const isOld = Date.now() - factsAt > FACTS_INTERVAL_MS || state !== shown.state;
  shown = { ...shown, state, duration_s };
  sayShown();
  if (isOld) void refreshShown().catch(console.warn);
}

/** While there is nothing to show, look again: an interview may begin at any time. */
async function awaitRecordings() {
  while (recordings.length === 0) {
    await new Promise((resolve) => window.setTimeout(resolve, WAITING_INTERVAL_MS));
    recordings = await api.recordings().catch(() => []);
  }
  await route();
}

async function refreshViewings() {
  if (shown === null) return;
  viewings = await api.viewings(shown.interview_id);
  sayViewings();
}

function sayViewings() {
  showViewings(byId("viewings"), byId("no-viewings"), viewings);
}

async function refreshShown() {
  factsAt = Date.now();
  recordings = await api.recordings();
  shown = recordings.find(({ interview_id }) => interview_id === shown?.interview_id) ?? shown;
  sayShown();
}

function sayShown() {
  if (shown === null) return;
  byId("replay-title").textContent = title(shown);
  byId("replay-facts").textContent = facts(shown);
}

/** Show what the address says: one recording, or the list; the only one there is at once. */
async function route() {
  view?.close();
  view = null;
  shown = null;
  const wanted = new URLSearchParams(location.search).get("interview");
  const only = recordings.length === 1 ? recordings[0]?.interview_id : undefined;
  const recording = recordings.find(({ interview_id }) => interview_id === (wanted ?? only));
  if (recording !== undefined) return showReplay(recording).catch(showRefused);
  const fault = await faultOf(wanted ?? own);
  if (fault) showRefused(fault);
  else showList();
}

/**
 * What is wrong with a recording that is not in the list: what is not authentic is not listed.
 * @param {string | null} interview
 */
async function faultOf(interview) {
  if (interview === null) return null;
  const error = await api.replayIndex(interview).then(() => null, (/** @type {unknown} */ reason) => reason);
  return error instanceof ApiError && refusalOf(error.id) === "damaged" ? error : null;
}

/** @param {unknown} error */
function showRefused(error) {
  console.warn(error);
  const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
  setText(byId("over-title"), `refused.${refusal}.title`);
  setText(byId("over-text"), `refused.${refusal}.text`);
  const act = element("over-act", HTMLButtonElement);
  act.hidden = refusal !== "unreachable" && refusal !== "other";
  act.onclick = () => location.reload();
  showStage("over");
}

async function open() {
  if (!token) return showRefused(new ApiError("token-missing", "no token in the address"));
  try {
    const [listed, me] = await Promise.all([api.recordings(), api.me()]);
    recordings = listed;
    own = me.interview?.id ?? null;
    await route();
    if (recordings.length === 0) void awaitRecordings();
  } catch (error) {
    showRefused(error);
  }
}

initLanguage();
onLanguage(() => {
  document.title = `${t("recordings.title")} · Vivavoce`;
  if (document.body.dataset.at === "list") showList();
  sayShown();
  sayViewings();
  view?.say();
});
reloadOnNewLink();
element("home", HTMLAnchorElement).href = `/#${token}`;
window.addEventListener("popstate", () => void route());
byId("to-list").addEventListener("click", () => {
  history.pushState(null, "", address());
  view?.close();
  view = null;
  shown = null;
  showList();
});
window.setInterval(() => void refreshViewings().catch(console.warn), VIEWINGS_INTERVAL_MS);
void open();

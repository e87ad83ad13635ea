// @ts-check
/**
 * The page of those who run interviews: hand out links, see what is live. An owner has all of
 * them and creates new ones, a recruiter has one.
 */

import { Api, ApiError } from "./api.js";
import { byId, element, showStage } from "./dom.js";
import { dateTime } from "./format.js";
import { initLanguage, locale, onLanguage, setText, t } from "./i18n.js";
import { InterviewCard } from "./interview_card.js";
import { linkToken, reloadOnNewLink } from "./link.js";
import { linkRow } from "./link_list.js";
import { homeOf, refusalOf } from "./refusal.js";
import { StorageNotice } from "./storage_notice.js";

/** @typedef {import("./api.js").Interview} Interview */
/** @typedef {import("./api.js").Invitation} Invitation */

const REFRESH_INTERVAL_MS = 4000;

const token = linkToken();
const api = new Api(token);
/** @type {Map<string, InterviewCard>} */
const cards = new Map();
const storageNotice = new StorageNotice(byId("storage"));
/** @type {Invitation | null} */
let made = null;

/** @param {readonly Interview[]} interviews */
function showInterviews(interviews) {
  const list = byId("interviews");
  const newestFirst = [...interviews].sort((a, b) => b.created_s - a.created_s);
  newestFirst.forEach((interview, place) => {
    const card = cards.get(interview.id) ?? new InterviewCard(api, interview, showNotice);
    cards.set(interview.id, card);
    card.show(interview);
    if (list.children[place] !== card.root) list.insertBefore(card.root, list.children[place] ?? null);
  });
  byId("no-interviews").hidden = interviews.length > 0;
}

/** @param {unknown} error */
function showNotice(error) {
  console.warn(error);
  const notice = byId("home-notice");
  const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
  setText(notice, `refused.${refusal}.text`);
  notice.hidden = false;
}

/** @param {unknown} error */
function showRefused(error) {
  const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
  setText(byId("over-title"), `refused.${refusal}.title`);
  setText(byId("over-text"), `refused.${refusal}.text`);
  const act = element("over-act", HTMLButtonElement);
  act.hidden = refusal !== "unreachable" && refusal !== "other";
  act.onclick = () => location.reload();
  showStage("over");
}

function sayMade() {
  if (made === null) return;
  setText(byId("made-title"), "home.made", { title: made.title });
  setText(byId("made-expiry"), "home.expiry", { date: dateTime(made.expires_s, locale()) });
}

/** @param {Invitation} invitation */
function showMade(invitation) {
  made = invitation;
  byId("made-links").replaceChildren(
    linkRow("candidate", invitation.candidate_url),
    linkRow("interviewer", invitation.interviewer_url),
    linkRow("observer", invitation.observer_url),
    linkRow("recruiter", invitation.recruiter_url),
  );
  byId("made").hidden = false;
  sayMade();
}

/** @param {SubmitEvent} event */
async function create(event) {
  event.preventDefault();
  const input = element("title", HTMLInputElement);
  const go = element("create-go", HTMLButtonElement);
  if (!input.value.trim()) return;
  go.disabled = true;
  try {
    showMade(await api.createInterview(input.value.trim()));
    input.value = "";
    await refresh();
  } catch (error) {
    showNotice(error);
  }
  go.disabled = false;
}

async function refresh() {
  const [interviews, storage] = await Promise.all([api.interviews(), api.storage()]);
  showInterviews(interviews);
  storageNotice.show(storage);
  byId("home-notice").hidden = true;
}

async function keepFresh() {
  if (document.visibilityState === "visible") await refresh().catch(showNotice);
  window.setTimeout(() => void keepFresh(), REFRESH_INTERVAL_MS);
}

async function open() {
  if (!token) return showStage("guest");
  try {
    const me = await api.me();
    const isOwner = me.role === "owner";
    if (!isOwner && me.role !== "recruiter") return location.replace(`${homeOf(me.role)}#${token}`);
    byId("create").hidden = !isOwner;
    await refresh();
  } catch (error) {
    return showRefused(error);
  }
  showStage("home");
  window.setTimeout(() => void keepFresh(), REFRESH_INTERVAL_MS);
}

initLanguage();
onLanguage(() => {
  document.title = `${t("home.title")} · Vivavoce`;
  sayMade();
  for (const card of cards.values()) card.say();
});
reloadOnNewLink();
element("home", HTMLAnchorElement).href = `/#${token}`;
element("all-recordings", HTMLAnchorElement).href = `/recordings#${token}`;
element("create", HTMLFormElement).addEventListener("submit", (event) => void create(event));
void open();

// @ts-check
/** The candidate's page of who has seen their recording, which recruiters may open, too. */

import { Api, ApiError } from "./api.js";
import { byId, element, showStage } from "./dom.js";
import { initLanguage, onLanguage, t } from "./i18n.js";
import { linkToken, reloadOnNewLink } from "./link.js";
import { showRefused } from "./over_view.js";
import { offerReceipt } from "./receipt.js";
import { homeOf, refusalOf } from "./refusal.js";
import { showViewings } from "./viewing_list.js";

const token = linkToken();
/** @type {import("./api.js").Viewing[] | null} null: told once the interview is over */
let viewings = [];

async function open() {
  if (!token) return showRefused("missing");
  const api = new Api(token);
  try {
    const { role, interview } = await api.me();
    const may = role === "candidate" || role === "recruiter";
    if (!may || interview === null) return location.replace(`${homeOf(role)}#${token}`);
    viewings = await seen(api, interview.id);
    byId("interview-title").textContent = interview.title;
    const back = element("back-link", HTMLAnchorElement);
    back.href = `${homeOf(role)}#${token}`;
    back.hidden = role !== "candidate";
    if (role === "candidate") void offerReceipt(api, interview.id, { ended: false });
  } catch (error) {
    return showRefused(refusalOf(error instanceof ApiError ? error.id : "internal"));
  }
  show();
  showStage("viewings");
}

/**
 * @param {Api} api
 * @param {string} interview its id
 */
async function seen(api, interview) {
  try {
    return await api.viewings(interview);
  } catch (error) {
    if (error instanceof ApiError && error.id === "not-sealed") return null;
    throw error;
  }
}

function show() {
  byId("viewings-later").hidden = viewings !== null;
  showViewings(byId("viewings"), byId("no-viewings"), viewings ?? []);
  if (viewings === null) byId("no-viewings").hidden = true;
}

initLanguage();
onLanguage(() => {
  document.title = `${t("viewings.page")} · Vivavoce`;
  show();
});
reloadOnNewLink();
void open();

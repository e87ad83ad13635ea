// @ts-check
/** The candidate's page: notice and consent, device check, interview, end. */

import { Api, ApiError } from "./api.js";
import { Call } from "./call.js";
import { DeviceCheck } from "./device_check.js";
import { byId, element, linkToken, reloadOnNewLink, showStage } from "./dom.js";
import { initLanguage, onLanguage, setText, t } from "./i18n.js";
import { homeOf, refusalOf } from "./refusal.js";

/** @typedef {import("./refusal.js").Refusal} Refusal */
/** @typedef {import("./devices.js").Choice} Choice */

/** Consent holds for this tab and this link; the value is the choice of devices. */
const STORAGE_KEY = "vivavoce.joined";

const RETRY_MS = 3000;

const token = linkToken();
let title = "";

/**
 * @param {Choice} choice
 * @param {boolean} [replaced] by another tab: this one is not to take over by itself
 */
function remember(choice, replaced = false) {
  sessionStorage.setItem(STORAGE_KEY, JSON.stringify({ token, choice, replaced }));
}

/** @returns {{choice: Choice, replaced: boolean} | null} of an interview that a reload has interrupted */
function remembered() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "null");
    return stored?.token === token ? stored : null;
  } catch {
    return null;
  }
}

const check = new DeviceCheck((stream, choice) => {
  remember(choice);
  call.start(stream, choice);
});

const call = new Call(token, {
  onOver: (reason) => {
    if (reason === "left") sessionStorage.removeItem(STORAGE_KEY);
    if (reason === "replaced") remember(call.choice, true);
    showOver(reason);
  },
  onRefused: (refusal) => showRefused(refusal),
  onChoice: (choice) => remember(choice),
});

/** @param {"left" | "replaced" | "ended"} reason */
function showOver(reason) {
  setText(byId("over-title"), `over.${reason}.title`);
  setText(byId("over-text"), `over.${reason}.text`);
  byId("over-icon-box").dataset.tone = reason === "left" ? "good" : "wait";
  const act = element("over-act", HTMLButtonElement);
  setText(act, `over.${reason}.act`);
  act.hidden = false;
  const choice = remembered()?.choice ?? {};
  act.onclick = () => void (reason === "replaced" ? resume(choice) : check.start(choice));
  showStage("over");
}

/** @param {Refusal} refusal */
function showRefused(refusal) {
  setText(byId("over-title"), `refused.${refusal}.title`);
  setText(byId("over-text"), `refused.${refusal}.text`);
  byId("over-icon-box").dataset.tone = "bad";
  const act = element("over-act", HTMLButtonElement);
  act.hidden = refusal !== "unreachable" && refusal !== "other";
  setText(act, "refused.retry");
  act.onclick = () => location.reload();
  showStage("over");
}

function connectConsent() {
  const box = element("consent", HTMLInputElement);
  const go = element("consent-go", HTMLButtonElement);
  box.checked = false;
  box.addEventListener("change", () => {
    go.disabled = !box.checked;
  });
  element("consent-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    if (box.checked) check.start({});
  });
}

async function open() {
  if (!token) return showRefused("missing");
  try {
    const me = await new Api(token).me();
    if (me.role !== "candidate") return location.replace(`${homeOf(me.role)}#${token}`);
    title = me.interview?.title ?? "";
  } catch (error) {
    const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
    // The server may just be restarting: come back without a click.
    if (refusal === "unreachable") window.setTimeout(() => void open(), RETRY_MS);
    return showRefused(refusal);
  }
  byId("interview-title").textContent = title;
  const before = remembered();
  if (before === null) showStage("notice");
  else if (before.replaced) showOver("replaced");
  else await resume(before.choice);
}

/**
 * Without a question: the page was reloaded during the interview, or is to take it over again, in a
 * tab where consent was given.
 * @param {Choice} choice
 */
async function resume(choice) {
  const stream = await check.start(choice);
  if (stream !== null) check.join();
}

initLanguage();
onLanguage(() => {
  document.title = title ? `${title} · Vivavoce` : t("join.page");
});
reloadOnNewLink();
connectConsent();
void open();

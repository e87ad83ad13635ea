// @ts-check
/** The candidate's page: notice and consent, device check, interview, end. */

import { Api, ApiError } from "./api.js";
import { CandidateCall } from "./candidate_call.js";
import { DeviceCheck } from "./device_check.js";
import { byId, element, showStage } from "./dom.js";
import { initLanguage, onLanguage, t } from "./i18n.js";
import { Joined } from "./joined.js";
import { linkToken, reloadOnNewLink } from "./link.js";
import { showOver, showRefused } from "./over_view.js";
import { offerReceipt, withdrawReceipt } from "./receipt.js";
import { homeOf, refusalOf } from "./refusal.js";

const RETRY_MS = 3000;

const token = linkToken();
const api = new Api(token);
/** Consent holds for this tab and this link. */
const joined = new Joined(token);
let title = "";
let interview = "";

const check = new DeviceCheck((stream, choice) => {
  joined.remember(choice);
  call.start(stream, choice);
});

const call = new CandidateCall(token, {
  onOver: (reason) => {
    if (reason === "left") joined.forget();
    if (reason === "replaced") joined.remember(call.choice, true);
    over(reason);
  },
  onRefused: showRefused,
  onChoice: (choice) => joined.remember(choice),
});

/** The way to who has seen the recording: from the notice, and once there is one. */
const toViewings = document.querySelectorAll("a.to-viewings");

/** @param {"left" | "replaced" | "ended"} reason */
function over(reason) {
  for (const link of toViewings) link.toggleAttribute("hidden", reason === "replaced");
  if (reason === "replaced") withdrawReceipt();
  else void offerReceipt(api, interview, { ended: true });
  const choice = joined.before?.choice ?? {};
  showOver(
    {
      title: `over.${reason}.title`,
      text: `over.${reason}.text`,
      tone: reason === "left" ? "good" : "wait",
      act: `over.${reason}.act`,
    },
    () => {
      withdrawReceipt();
      void (reason === "replaced" ? check.resume(choice) : check.start(choice));
    },
  );
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
    if (box.checked) void check.start({});
  });
}

async function open() {
  if (!token) return showRefused("missing");
  try {
    const me = await api.me();
    if (me.role !== "candidate") return location.replace(`${homeOf(me.role)}#${token}`);
    title = me.interview?.title ?? "";
    interview = me.interview?.id ?? "";
  } catch (error) {
    const refusal = refusalOf(error instanceof ApiError ? error.id : "internal");
    // The server may just be restarting: come back without a click.
    if (refusal === "unreachable") window.setTimeout(() => void open(), RETRY_MS);
    return showRefused(refusal);
  }
  byId("interview-title").textContent = title;
  for (const link of toViewings) link.setAttribute("href", `/viewings#${token}`);
  const { before } = joined;
  if (before === null) showStage("notice");
  else if (before.replaced) over("replaced");
  else await check.resume(before.choice);
}

initLanguage();
onLanguage(() => {
  document.title = title ? `${title} · Vivavoce` : t("join.page");
});
reloadOnNewLink();
connectConsent();
void open();

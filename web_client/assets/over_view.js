// @ts-check
/** The last stage of a page: it is over, or the link does not work. */

import { byId, element, showStage } from "./dom.js";
import { setText } from "./i18n.js";

/** @typedef {import("./i18n.js").Key} Key */

/**
 * @param {object} said
 * @param {Key} said.title
 * @param {Key} said.text
 * @param {"good" | "wait" | "bad"} said.tone
 * @param {Key | null} said.act what can be done about it
 * @param {() => void} onAct
 */
export function showOver({ title, text, tone, act }, onAct) {
  setText(byId("over-title"), title);
  setText(byId("over-text"), text);
  byId("over-icon-box").dataset.tone = tone;
  const button = element("over-act", HTMLButtonElement);
  button.hidden = act === null;
  if (act !== null) setText(button, act);
  button.onclick = onAct;
  showStage("over");
}

/** @param {import("./refusal.js").Refusal} refusal */
export function showRefused(refusal) {
  const again = refusal === "unreachable" || refusal === "other";
  showOver(
    {
      title: `refused.${refusal}.title`,
      text: `refused.${refusal}.text`,
      tone: "bad",
      act: again ? "refused.retry" : null,
    },
    () => location.reload(),
  );
}

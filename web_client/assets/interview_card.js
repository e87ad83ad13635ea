// @ts-check
/** One interview in the owner's list. */

import { create, icon } from "./dom.js";
import { dateTime } from "./format.js";
import { locale, setText, t } from "./i18n.js";
import { LinkList } from "./link_list.js";

/** @typedef {import("./api.js").Interview} Interview */

const STATE_TONE = { waiting: "", live: "good", interrupted: "bad", ended: "wait" };

export class InterviewCard {
  /**
   * @param {import("./api.js").Api} api
   * @param {Interview} interview
   * @param {(error: unknown) => void} onError
   */
  constructor(api, interview, onError) {
    this.interview = interview;
    this.state = create("span", "pill");
    this.failed = create("span", "pill");
    this.failed.dataset.tone = "bad";
    this.facts = create("p", "muted");
    this.links = new LinkList(api, interview.id, onError);
    this.observe = action("eye", "home.observe", page("/observe", interview.id, api.token));
    this.observe.target = "_blank";
    this.recording = action("film", "home.recording", page("/recordings", interview.id, api.token));
    const text = create("div", "item-text", create("h2", "", interview.title), this.facts);
    const actions = create("div", "row", this.observe, this.recording, this.links.toggle);
    const head = create("div", "item", text, this.failed, this.state, actions);
    this.root = create("li", "card interview", head, this.links.root);
  }

  /** @param {Interview} interview */
  show(interview) {
    this.interview = interview;
    this.state.dataset.tone = STATE_TONE[interview.state];
    this.failed.hidden = !interview.recording_failed;
    this.observe.hidden = interview.state === "ended";
    this.recording.hidden = interview.started_s === null;
    this.say();
  }

  /** What depends on the language. */
  say() {
    const { state, created_s, started_s } = this.interview;
    setText(this.state, `state.${state}`);
    setText(this.failed, "alert.recording-failed");
    if (started_s === null) setText(this.facts, "home.created", { date: dateTime(created_s, locale()) });
    else setText(this.facts, "home.started", { date: dateTime(started_s, locale()) });
    this.links.say();
  }
}

/**
 * @param {string} path
 * @param {string} interview
 * @param {string} token
 */
function page(path, interview, token) {
  return `${path}?interview=${encodeURIComponent(interview)}#${token}`;
}

/**
 * @param {string} iconName
 * @param {"home.observe" | "home.recording"} key
 * @param {string} href
 */
function action(iconName, key, href) {
  const text = create("span", "", t(key));
  setText(text, key);
  const link = create("a", "button", icon(iconName), text);
  link.href = href;
  return link;
}

// @ts-check
/** An interview's links: what there is, withdraw, make new ones, copy. */

import { byId, create, element, icon } from "./dom.js";
import { dateTime } from "./format.js";
import { locale, setText } from "./i18n.js";

/** @typedef {import("./api.js").Link} Link */
/** @typedef {"candidate" | "interviewer" | "observer" | "recruiter"} InvitedRole */

/** @type {readonly InvitedRole[]} */
const ROLES = ["candidate", "interviewer", "observer", "recruiter"];
const COPIED_MS = 2000;

/**
 * A link to hand out, with whom it is for and a button that copies it.
 * @param {InvitedRole} role
 * @param {string} url
 */
export function linkRow(role, url) {
  const name = create("strong");
  setText(name, `links.${role}`);
  const what = create("span", "muted");
  setText(what, `links.${role}.text`);
  const field = create("input", "link-url");
  field.type = "text";
  field.readOnly = true;
  field.value = url;
  field.addEventListener("focus", () => field.select());
  const label = create("label", "link-label", create("span", "link-for", name, " ", what), field);
  return create("div", "link-row", label, copyButton(field));
}

/** @param {HTMLInputElement} field */
function copyButton(field) {
  const text = create("span");
  setText(text, "links.copy");
  const button = create("button", "", icon("copy"), text);
  button.type = "button";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      field.select(); // no clipboard on an insecure origin: leave it selected for the keyboard
      return;
    }
    setText(text, "copied");
    window.setTimeout(() => setText(text, "links.copy"), COPIED_MS);
  });
  return button;
}

export class LinkList {
  /**
   * @param {import("./api.js").Api} api
   * @param {string} interview
   * @param {(error: unknown) => void} onError
   */
  constructor(api, interview, onError) {
    this.api = api;
    this.interview = interview;
    this.onError = onError;
    /** @type {Link[]} */
    this.links = [];
    this.list = create("ul", "stack links");
    this.fresh = create("div", "stack");
    this.root = create("div", "stack link-list", this.list, this.makers(), this.fresh);
    this.root.hidden = true;
    const text = create("span");
    setText(text, "home.links");
    this.toggle = create("button", "", icon("link"), text);
    this.toggle.type = "button";
    this.toggle.setAttribute("aria-expanded", "false");
    this.toggle.addEventListener("click", () => void this.open(this.root.hidden));
  }

  /** @param {boolean} shown */
  async open(shown) {
    this.root.hidden = !shown;
    this.toggle.setAttribute("aria-expanded", String(shown));
    if (shown) await this.refresh();
    else this.fresh.replaceChildren();
  }

  async refresh() {
    await this.attempt(async () => {
      this.links = await this.api.links(this.interview);
      this.say();
    });
  }

  say() {
    this.list.replaceChildren(...this.links.map((link) => this.item(link)));
  }

  /** @param {Link} link */
  item(link) {
    const role = /** @type {InvitedRole} */ (link.role);
    const name = create("strong");
    setText(name, `links.${role}`);
    const validity = create("span", "muted");
    const dead = link.revoked || link.expires_s * 1000 < Date.now();
    const key = link.revoked ? "links.revoked" : dead ? "links.expired" : "links.valid";
    setText(validity, key, { date: dateTime(link.expires_s, locale()) });
    const revoke = create("button", "danger");
    setText(revoke, "links.revoke");
    revoke.type = "button";
    revoke.hidden = dead;
    revoke.addEventListener("click", () => void this.revoke(link.id, role));
    return create("li", "link-item", name, validity, revoke);
  }

  makers() {
    const label = create("span", "muted");
    setText(label, "links.make");
    const buttons = ROLES.map((role) => {
      const text = create("span");
      setText(text, `links.${role}`);
      const button = create("button", "", icon("plus"), text);
      button.type = "button";
      button.addEventListener("click", () => void this.make(role));
      return button;
    });
    return create("div", "row", label, ...buttons);
  }

  /** @param {InvitedRole} role */
  async make(role) {
    await this.attempt(async () => {
      const link = await this.api.makeLink(this.interview, role);
      this.fresh.prepend(linkRow(role, link.url));
      await this.refresh();
    });
  }

  /**
   * @param {string} id
   * @param {InvitedRole} role
   */
  async revoke(id, role) {
    if (!(await confirmRevocation(role))) return;
    await this.attempt(() => this.api.revoke(this.interview, id));
    await this.refresh();
  }

  /** @param {() => Promise<unknown>} act */
  async attempt(act) {
    try {
      await act();
    } catch (error) {
      this.onError(error);
    }
  }
}

/**
 * @param {InvitedRole} role
 * @returns {Promise<boolean>}
 */
function confirmRevocation(role) {
  const dialog = element("revoke-dialog", HTMLDialogElement);
  setText(byId("revoke-text"), `revoke.${role}`);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "revoke"), { once: true });
  });
}

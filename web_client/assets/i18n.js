// @ts-check
/**
 * Chinese and English. Static text carries `data-i18n="key"` (and `data-i18n-title`,
 * `data-i18n-aria-label`, `data-i18n-placeholder` for attributes); text set by code goes
 * through `setText`, so that all of it changes at once when the language is switched.
 */

import { STRINGS } from "./strings.js";

/** @typedef {keyof typeof STRINGS} Key */
/** @typedef {"en" | "zh"} Language */
/** @typedef {Record<string, string | number>} Params */

const STORAGE_KEY = "vivavoce.language";
const ATTRIBUTES = ["aria-label", "title", "placeholder"];

/** @type {Language} */
let current = "en";
/** @type {WeakMap<Element, Params>} */
const paramsOf = new WeakMap();
/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * The first language of the browser that we speak; English otherwise.
 * @param {readonly string[]} wanted `navigator.languages`
 * @returns {Language}
 */
export function chooseLanguage(wanted) {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split("-")[0];
    if (primary === "zh" || primary === "en") return primary;
  }
  return "en";
}

/**
 * @param {Key} key
 * @param {Params} [params] values for the `{name}` places
 * @param {Language} [language]
 */
export function t(key, params = {}, language = current) {
  const text = STRINGS[key][language === "en" ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (place, name) => String(params[name] ?? place));
}

/** @returns {Language} */
export function language() {
  return current;
}

/** @returns {string} the browser's own variety of the current language, for `Intl` and `lang` */
export function locale() {
  const own = navigator.languages.find((tag) => chooseLanguage([tag, other(current)]) === current);
  return own ?? (current === "zh" ? "zh-CN" : "en");
}

/** @param {Language} language */
function other(language) {
  return language === "en" ? "zh" : "en";
}

/**
 * @param {Element} element
 * @param {Key} key
 * @param {Params} [params]
 */
export function setText(element, key, params = {}) {
  element.setAttribute("data-i18n", key);
  paramsOf.set(element, params);
  const text = t(key, params);
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {Element} element
 * @param {"aria-label" | "title" | "placeholder"} attribute
 * @param {Key} key
 */
export function setLabel(element, attribute, key) {
  element.setAttribute(`data-i18n-${attribute}`, key);
  element.setAttribute(attribute, t(key));
}

/**
 * Call at once and after each change of language: for what is drawn or formatted by code.
 * @param {() => void} render
 */
export function onLanguage(render) {
  listeners.add(render);
  render();
}

/** @param {Language} language */
function say(language) {
  current = language;
  document.documentElement.lang = locale();
  for (const element of document.querySelectorAll("[data-i18n]")) {
    const key = /** @type {Key} */ (element.getAttribute("data-i18n"));
    element.textContent = t(key, paramsOf.get(element));
  }
  for (const attribute of ATTRIBUTES) {
    for (const element of document.querySelectorAll(`[data-i18n-${attribute}]`)) {
      const key = /** @type {Key} */ (element.getAttribute(`data-i18n-${attribute}`));
      element.setAttribute(attribute, t(key));
    }
  }
  for (const render of listeners) render();
}

/** Translate the page and connect its language switch. */
export function initLanguage() {
  const stored = readStored();
  say(stored ?? chooseLanguage(navigator.languages));
  document.getElementById("language")?.addEventListener("click", () => {
    const chosen = other(current);
    try {
      localStorage.setItem(STORAGE_KEY, chosen);
    } catch {
      // Storage is forbidden in this browser: the choice lasts as long as the page.
    }
    say(chosen);
  });
}

/** @returns {Language | null} */
function readStored() {
  try {
    const value = localStorage.getItem(STORAGE_KEY);
    return value === "en" || value === "zh" ? value : null;
  } catch {
    return null;
  }
}

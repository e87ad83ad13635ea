// @ts-check
/** The little of the DOM that every page needs. */

/**
 * The element with this id, of this class: a page without it is broken, so it throws.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`#${id} is not a ${type.name}`);
  return found;
}

/** @param {string} id */
export function byId(id) {
  return element(id, HTMLElement);
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [className]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function create(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/**
 * Where an icon of the sprite is: beside this file.
 * @param {string} name
 */
export function iconHref(name) {
  return `${new URL("./icons.svg", import.meta.url).pathname}#${name}`;
}

/**
 * An icon of the sprite.
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", iconHref(name));
  svg.append(use);
  return svg;
}

/**
 * Show one of the page's `[data-stage]` sections and move the focus to its heading.
 * @param {string} name
 */
export function showStage(name) {
  document.body.dataset.at = name;
  for (const section of document.querySelectorAll("[data-stage]")) {
    const shown = section instanceof HTMLElement && section.dataset.stage === name;
    section.toggleAttribute("hidden", !shown);
    const heading = shown ? section.querySelector("h1, h2") : null;
    if (heading instanceof HTMLElement) {
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    }
  }
  window.scrollTo({ top: 0 });
}

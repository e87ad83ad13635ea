// @ts-check
/** The link that the page was opened by. */

/** The token of the page's link: in the fragment, so that it reaches no log and no referrer. */
export function linkToken() {
  return location.hash.slice(1);
}

/** A new fragment is another link: start the page afresh. */
export function reloadOnNewLink() {
  window.addEventListener("hashchange", () => location.reload());
}

// @ts-check
/** Why a link does not work, in the words of the dictionary (`refused.*`). Pure. */

/** @typedef {"expired" | "revoked" | "invalid" | "missing" | "version" | "codec" | "unreachable" |
 *   "locked" | "damaged" | "other"} Refusal */

/**
 * @param {string} errorId of the server, or `unreachable`
 * @returns {Refusal}
 */
export function refusalOf(errorId) {
  switch (errorId) {
    case "token-expired":
      return "expired";
    case "token-revoked":
      return "revoked";
    case "token-missing":
      return "missing";
    case "token-invalid":
    case "not-found":
    case "forbidden":
      return "invalid";
    case "unsupported-version":
      return "version";
    case "no-common-codec":
      return "codec";
    case "recording-locked":
      return "locked";
    case "recording-damaged":
      return "damaged";
    case "unreachable":
      return "unreachable";
    default:
      return "other";
  }
}

/**
 * The page on which a role's link belongs.
 * @param {import("./protocol.js").Role} role
 */
export function homeOf(role) {
  return {
    candidate: "/join",
    interviewer: "/interview",
    observer: "/observe",
    recruiter: "/observe",
    owner: "/",
  }[role];
}

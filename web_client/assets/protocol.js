// @ts-check
/**
 * The WebSocket protocol's messages, version 1 (`docs/protocol.md`), and what the HTTP API
 * answers (`docs/architecture.md`), as types. Times are Unix seconds on the server's clock.
 *
 * @typedef {"candidate" | "interviewer" | "observer" | "recruiter" | "owner"} Role
 * @typedef {"up" | "down"} Connection which of a page's two: by which it sends, by which it receives
 * @typedef {"waiting" | "live" | "interrupted" | "ended"} InterviewState
 * @typedef {{name: string, value: number | null, unit: string, start_s: number, end_s: number,
 *   confidence?: number, version?: number}} Indicator
 * @typedef {{id: string, active: boolean, since_s: number}} Alert
 *
 * @typedef {{type: "welcome", version: number, role: Role, interview: {id: string, title: string},
 *   state: InterviewState, server_time_s: number,
 *   ice_servers: {urls: string[], username: string, credential: string}[]}} Welcome
 * @typedef {{type: "answer", sdp: string, connection: Connection}} Answer
 * @typedef {{type: "state", state: InterviewState, started_s?: number | null}} StateChanged
 * @typedef {{type: "recording", active: boolean}} RecordingState
 * @typedef {{type: "interviewer", active: boolean}} InterviewerState
 * @typedef {{type: "camera", role: Role, active: boolean}} CameraState
 * @typedef {{type: "screen", active: boolean}} ScreenState
 * @typedef {{type: "watchers", roles: Role[]}} Watchers
 * @typedef {{type: "indicators", values: Indicator[]}} Indicators
 * @typedef {{type: "alert", alert: Alert}} AlertChanged
 * @typedef {{type: "replaced"}} Replaced
 * @typedef {{type: "pong", id: number, server_time_s: number}} Pong
 * @typedef {{type: "error", id: string, message: string, fatal?: boolean,
 *   retry_after_s?: number | null, connection?: Connection | null}} ErrorMessage
 * @typedef {Welcome | Answer | StateChanged | RecordingState | InterviewerState | CameraState | ScreenState | Watchers |
 *   Indicators | AlertChanged | Replaced | Pong | ErrorMessage} ServerMessage
 *
 * @typedef {{type: "hello", version: number, token: string,
 *   interview: string | null, opening: string | null} | {type: "publish", sdp: string, consent: boolean, notice: string} |
 *   {type: "watch", sdp: string} | {type: "restart", sdp: string, connection: Connection} |
 *   {type: "unshare"} | {type: "camera", active: boolean} | {type: "microphone", active: boolean} | {type: "leave"} | {type: "ping", id: number}} ClientMessage
 */

export const PROTOCOL_VERSION = 1;

/** Error ids after which the same link will never work again: do not reconnect. */
const FINAL_ERRORS = new Set([
  "unsupported-version",
  "token-missing",
  "token-invalid",
  "token-expired",
  "token-revoked",
  "forbidden",
  "not-found",
  "consent-missing",
  "no-common-codec",
]);

/** @param {string} id an error id of the server */
export function isFinal(id) {
  return FINAL_ERRORS.has(id);
}

/**
 * Parse one text frame of the server.
 * @param {string} text
 * @returns {ServerMessage | null} null when it is not a message
 */
export function parseMessage(text) {
  try {
    const message = JSON.parse(text);
    return typeof message?.type === "string" ? message : null;
  } catch {
    return null;
  }
}

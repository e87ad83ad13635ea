// @ts-check
/** The HTTP API (`docs/architecture.md`), with the link's token as bearer. */

/**
 * @typedef {import("./protocol.js").Role} Role
 * @typedef {import("./protocol.js").InterviewState} InterviewState
 * @typedef {{role: Role, interview: {id: string, title: string} | null}} Me
 * @typedef {{id: string, title: string, state: InterviewState, created_s: number,
 *   started_s: number | null, recording_failed: boolean}} Interview
 * @typedef {{id: "store-behind" | "disk-filling", since_s: number}} StorageItem
 * @typedef {{id: string, role: Role, created_s: number, expires_s: number, revoked: boolean}} Link
 * @typedef {{interview_id: string, title: string, state: "recording" | "finished" | "interrupted",
 *   started_s: number | null, duration_s: number, tracks: string[], gaps: number, bytes: number,
 *   compressed: boolean, source_bytes: number | null, left: LeftReason | null, made: number | null}} RecordingSummary
 * @typedef {"far" | "large" | "gainless" | "damaged" | "unfit"} LeftReason
 * @typedef {{kind: string, file: string, message: string, start_s: number | null, end_s: number | null}} Fault
 * @typedef {{intact: boolean, faults: Fault[]}} Verification
 * @typedef {{role: Role | null, link: string | null, way: "replay" | "hls" | "export", began_s: number,
 *   last_s: number, start_s: number, end_s: number}} Viewing
 * @typedef {"empty" | "recording-damaged" | "recording-unreadable" | "disk-full" | "pause-too-long" | "cut-off" | "failed"} ExportFault
 * @typedef {{id: string, state: "waiting" | "running" | "ready" | "failed", done: number, start_s: number,
 *   end_s: number, transcode: boolean, asked_s: number, until_s: number | null, size: number | null,
 *   fault: ExportFault | null, file: string | null, statement: string | null}} Export
 * @typedef {{interview_id: string, title: string, candidate_url: string, interviewer_url: string,
 *   observer_url: string, recruiter_url: string, expires_s: number}} Invitation
 */

/** The server's refusal, or `unreachable` when there was no answer at all. */
export class ApiError extends Error {
  /**
   * @param {string} id
   * @param {string} message
   */
  constructor(id, message) {
    super(message);
    this.id = id;
  }
}

export class Api {
  /** @param {string} token */
  constructor(token) {
    this.token = token;
  }

  /** @returns {Promise<Me>} */
  me() {
    return this.json("GET", "/api/me");
  }

  /** @returns {Promise<Interview[]>} */
  interviews() {
    return this.json("GET", "/api/interviews");
  }

  /** @returns {Promise<StorageItem[]>} */
  storage() {
    return this.json("GET", "/api/storage");
  }

  /**
   * @param {string} title
   * @returns {Promise<Invitation>}
   */
  createInterview(title) {
    return this.json("POST", "/api/interviews", { title });
  }

  /**
   * @param {string} interview
   * @returns {Promise<Link[]>}
   */
  links(interview) {
    return this.json("GET", `/api/interviews/${interview}/links`);
  }

  /**
   * @param {string} interview
   * @param {Role} role
   * @returns {Promise<Link & {url: string}>}
   */
  makeLink(interview, role) {
    return this.json("POST", `/api/interviews/${interview}/links`, { role });
  }

  /**
   * @param {string} interview
   * @param {string} link
   */
  revoke(interview, link) {
    return this.request("DELETE", `/api/interviews/${interview}/links/${link}`);
  }

  /** @returns {Promise<RecordingSummary[]>} */
  recordings() {
    return this.json("GET", "/api/recordings");
  }

  /**
   * @param {string} interview
   * @param {number} [after] the fragments after this one alone
   * @returns {Promise<import("./replay.js").ReplayIndex>}
   */
  replayIndex(interview, after = 0) {
    return this.json("GET", `/api/recordings/${interview}${after ? `?after=${after}` : ""}`);
  }

  /**
   * @param {string} interview
   * @param {number} seq
   * @returns {Promise<number[]>} when the pictures of that fragment begin
   */
  pictureTimes(interview, seq) {
    return this.json("GET", `/api/recordings/${interview}/pictures/${seq}`);
  }

  /**
   * @param {string} interview
   * @param {string} side
   * @returns {string} for a player of HTTP Live Streaming; it has the link's token in it
   */
  hlsAddress(interview, side) {
    return `${location.origin}/hls/${this.token}/${interview}/${side}/index.m3u8`;
  }

  /**
   * @param {string} interview
   * @param {"init" | "fragment" | import("./side_replay.js").SidePart} part
   * @param {number} number of the only one, or of the first
   * @param {number} last of fragments in a row
   * @param {AbortSignal} signal
   */
  async media(interview, part, number, last, signal) {
    const path = `/api/recordings/${interview}/${part}/${number}${last > number ? `?last=${last}` : ""}`;
    return (await this.request("GET", path, undefined, signal)).arrayBuffer();
  }

  /**
   * @param {string} interview
   * @returns {Promise<Verification>}
   */
  verify(interview) {
    return this.json("GET", `/api/recordings/${interview}/verify`);
  }

  /**
   * @param {string} interview
   * @returns {Promise<Viewing[]>} in the order they began
   */
  viewings(interview) {
    return this.json("GET", `/api/recordings/${interview}/viewings`);
  }

  /**
   * @param {string} interview
   * @returns {Promise<Blob>} to be kept as it is: every byte of it is signed
   */
  async receipt(interview) {
    return (await this.request("GET", `/api/recordings/${interview}/receipt`)).blob();
  }

  /**
   * @param {string} interview
   * @returns {Promise<Export[]>} of this link, in the order they were asked for
   */
  exports(interview) {
    return this.json("GET", `/api/recordings/${interview}/exports`);
  }

  /**
   * @param {string} interview
   * @param {{start_s?: number, end_s?: number, transcode: boolean}} wanted
   * @returns {Promise<Export>}
   */
  makeExport(interview, wanted) {
    return this.json("POST", `/api/recordings/${interview}/exports`, wanted);
  }

  /**
   * @param {string} interview
   * @param {string} id
   */
  removeExport(interview, id) {
    return this.request("DELETE", `/api/recordings/${interview}/exports/${id}`);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   */
  async json(method, path, body) {
    return (await this.request(method, path, body)).json();
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @throws {ApiError}
   */
  async request(method, path, body, signal) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${this.token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError("unreachable", String(error));
    }
    if (response.ok) return response;
    const refusal = (await response.json().catch(() => null))?.error;
    throw new ApiError(refusal?.id ?? "internal", refusal?.message ?? response.statusText);
  }
}

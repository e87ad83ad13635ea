/** What the clients in this folder share: one session of WHIP or WHEP, and a life on a leash. */

/**
 * @param {string} url of the endpoint
 * @param {RTCPeerConnection} pc with an offer as its local description
 * @returns {Promise<string>} the session's URL
 */
export async function exchange(url, pc) {
  const answered = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: pc.localDescription.sdp,
  });
  const text = await answered.text();
  if (answered.status !== 201) throw new Error(`HTTP ${answered.status}: ${text}`);
  await pc.setRemoteDescription({ type: "answer", sdp: text });
  return new URL(answered.headers.get("Location"), url).href;
}

/** Says so once each of `kinds` has been counted `enough` times. */
export class Counter {
  constructor(kinds, enough) {
    this.missing = new Map(kinds.map((kind) => [kind, enough]));
  }

  count(kind) {
    const left = this.missing.get(kind) - 1;
    this.missing.set(kind, left);
    if (left === 0 && Math.max(...this.missing.values()) <= 0) console.log("enough");
  }
}

/**
 * Whoever started this program closes its input when it is to end: ends the session, too.
 * @param {string} session
 * @param {() => Promise<void> | void} close
 */
export function endWithInput(session, close) {
  process.stdin.resume().on("end", async () => {
    const ended = await fetch(session, { method: "DELETE" });
    await close();
    process.exit(ended.status === 200 ? 0 : 1);
  });
}

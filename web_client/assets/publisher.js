// @ts-check
/** Sending the candidate's camera, microphone and screen: codecs, layers, bitrate, link quality. */

export const VIDEO_MAX_BPS = 1_200_000;
/** Small print at its full size; it stands still most of the time. */
export const SCREEN_MAX_BPS = 1_000_000;
export const SCREEN_MAX_FPS = 15;
/** There is room for the camera's full size: on a line of 1 Mbit/s it was worse than a small one. */
const FULL_SIZE_BPS = VIDEO_MAX_BPS;
const FULL_SIZE_WAIT_S = 10;
/** Two or three temporal layers let the server sample the lowest alone; not everywhere supported. */
const SCALABILITY_MODES = ["L1T3", "L1T2", undefined];

/** Above these the connection is called weak. */
export const WEAK_LOSS = 0.05;
export const WEAK_ROUND_TRIP_S = 0.4;

/**
 * What the server can record, in the order in which it prefers by default: H.264 (constrained
 * baseline before others, non-interleaved, RFC 6184 6.3), VP9 and AV1 (8 bits of 4:2:0: profile 0,
 * also where none is named, RFC 9628 6.1), then VP8; retransmission stays with them. The server's
 * answer decides.
 * @template {{mimeType: string, sdpFmtpLine?: string}} C
 * @param {readonly C[]} codecs what the browser can send
 * @returns {C[]}
 */
export function preferCodecs(codecs) {
  /** @param {C} codec */
  const rank = ({ mimeType, sdpFmtpLine = "" }) => {
    switch (mimeType.toLowerCase()) {
      case "video/h264":
        if (!/packetization-mode=1/.test(sdpFmtpLine)) return -1;
        return /profile-level-id=42e0/i.test(sdpFmtpLine) ? 0 : 1;
      case "video/vp9":
        return /profile-id=[1-9]/.test(sdpFmtpLine) ? -1 : 2;
      case "video/av1":
        return /profile=[1-9]/.test(sdpFmtpLine) ? -1 : 3;
      case "video/vp8":
        return 4;
      case "video/rtx":
        return 5;
      default:
        return -1;
    }
  };
  return codecs.filter((codec) => rank(codec) >= 0).sort((a, b) => rank(a) - rank(b));
}

/**
 * Add the stream's tracks to a new connection, to be sent only.
 * @param {RTCPeerConnection} pc
 * @param {MediaStream} stream
 */
export function sendStream(pc, stream) {
  for (const track of stream.getAudioTracks()) {
    pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  }
  for (const track of stream.getVideoTracks()) preferOurs(addVideo(pc, track, stream));
}

/**
 * Add a section for the screen: it is silent until a track is put into the sender, so that
 * sharing begins and ends without a new offer. Call it after `sendStream`.
 * @param {RTCPeerConnection} pc
 * @param {MediaStreamTrack | null} track what is shared already
 * @returns {RTCRtpSender}
 */
export function sendScreen(pc, track) {
  // The first video section is the camera's, even where there is none (docs/protocol.md).
  const camera = pc.getTransceivers().some(({ sender }) => sender.track?.kind === "video");
  if (!camera) pc.addTransceiver("video", { direction: "inactive" });
  const transceiver = pc.addTransceiver(track ?? "video", {
    direction: "sendonly",
    streams: [new MediaStream()],
  });
  preferOurs(transceiver);
  return transceiver.sender;
}

/**
 * The offer as the server is to see it: lost packets of sound may be asked for again. Browsers
 * offer that for pictures only, but do it where the answer wants it (RFC 4585 4.2).
 * @param {string} sdp
 */
export function offerSoundRepairs(sdp) {
  return sdp.replace(/^a=rtpmap:(\d+) opus\/48000\/2\r\n/gim, (line, type) => {
    const nack = `a=rtcp-fb:${type} nack\r\n`;
    return sdp.includes(nack) ? line : line + nack;
  });
}

/** @param {RTCRtpTransceiver} transceiver */
function preferOurs(transceiver) {
  const codecs = preferCodecs(RTCRtpSender.getCapabilities("video")?.codecs ?? []);
  if (codecs.length > 0) transceiver.setCodecPreferences?.(codecs);
}

/**
 * @param {RTCPeerConnection} pc
 * @param {MediaStreamTrack} track
 * @param {MediaStream} stream
 */
function addVideo(pc, track, stream) {
  for (const scalabilityMode of SCALABILITY_MODES) {
    /** @type {RTCRtpEncodingParameters & {scalabilityMode?: string}} */
    const encoding = { maxBitrate: VIDEO_MAX_BPS, maxFramerate: 30 };
    if (scalabilityMode) encoding.scalabilityMode = scalabilityMode;
    try {
      return pc.addTransceiver(track, { direction: "sendonly", streams: [stream], sendEncodings: [encoding] });
    } catch (error) {
      if (scalabilityMode === undefined) throw error;
    }
  }
  throw new Error("unreachable: the last mode returns or throws");
}

/**
 * What a camera gives up first when the network is narrow: resolution and frame rate evenly
 * ("balanced"), or frames alone. Possible only once the answer is applied; browsers that don't
 * know the parameter ignore it.
 * @param {RTCPeerConnection} pc
 * @param {RTCRtpSender | null} screen
 * @param {RTCDegradationPreference} preference
 */
export async function preferDegradation(pc, screen, preference) {
  for (const sender of pc.getSenders()) {
    if (sender === screen || sender.track?.kind !== "video") continue;
    const parameters = sender.getParameters();
    parameters.degradationPreference = preference;
    await sender.setParameters(parameters).catch(() => {});
  }
}

/**
 * A camera's way back to its full size. Chromium shrinks the picture while it is still finding out
 * what the network carries, and enlarges it only once the small one is nearly without coding loss,
 * at our bitrates never. Where there is room it is told, for one look, to keep the resolution, which
 * makes it forget what it gave up; then it is balanced again, and shrinks again where the full
 * size does not fit after all: then the next try is twice as far away.
 *
 * Contract: call `look` every other second with what the browser reports of the connection, and
 * set the preference that it returns.
 */
export class FullSize {
  constructor() {
    this.keeps = false;
    this.waitS = FULL_SIZE_WAIT_S;
    this.nextS = 0;
  }

  /**
   * @param {Iterable<{type: string, kind?: string, nominated?: boolean,
   *   qualityLimitationReason?: string, availableOutgoingBitrate?: number}>} reports
   * @param {number} nowS
   * @returns {RTCDegradationPreference | null} null: as it is
   */
  look(reports, nowS) {
    if (this.keeps) {
      this.keeps = false;
      this.nextS = nowS + this.waitS;
      this.waitS *= 2;
      return "balanced";
    }
    let small = false;
    let bitrate = 0;
    for (const report of reports) {
      const { type, kind, qualityLimitationReason, nominated, availableOutgoingBitrate } = report;
      if (type === "outbound-rtp" && kind === "video") small ||= qualityLimitationReason === "bandwidth";
      // A path that was left stays nominated; only of the one in use it is known.
      if (type === "candidate-pair" && nominated) bitrate = availableOutgoingBitrate ?? bitrate;
    }
    if (!small && nowS >= this.nextS) this.waitS = FULL_SIZE_WAIT_S;
    if (!small || bitrate < FULL_SIZE_BPS || nowS < this.nextS) return null;
    this.keeps = true;
    return "maintain-resolution";
  }
}

/**
 * A screen gives up frames, never its size: small print must stay legible. Call it once there is
 * a track: limits of a sender without one make Chromium's camera slower, too.
 * @param {RTCRtpSender} sender
 */
export async function limitScreen(sender) {
  const parameters = sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  for (const encoding of parameters.encodings) {
    encoding.maxBitrate = SCREEN_MAX_BPS;
    encoding.maxFramerate = SCREEN_MAX_FPS;
  }
  await sender.setParameters(parameters).catch(() => {});
}

/**
 * Whether the receiver's reports (RFC 3550 6.4.1) tell of a weak connection.
 * @param {Iterable<{type: string, fractionLost?: number, roundTripTime?: number}>} reports
 */
export function isWeak(reports) {
  for (const report of reports) {
    if (report.type !== "remote-inbound-rtp") continue;
    if ((report.fractionLost ?? 0) > WEAK_LOSS) return true;
    if ((report.roundTripTime ?? 0) > WEAK_ROUND_TRIP_S) return true;
  }
  return false;
}

// @ts-check
/** Camera and microphone: asking for them, naming what went wrong, listing them. */

/**
 * What stops a person, each with its own advice in the dictionary under `trouble.`.
 * @typedef {"insecure" | "unsupported" | "denied" | "denied-by-system" | "missing" | "busy" |
 *   "unknown"} Trouble
 */

/** Why the camera or the microphone cannot be had. */
export class DeviceError extends Error {
  /**
   * @param {Trouble} trouble
   * @param {unknown} cause
   */
  constructor(trouble, cause) {
    super(`${trouble}: ${cause}`);
    this.trouble = trouble;
  }
}

/**
 * Name the trouble behind an error of getUserMedia (Media Capture and Streams 10.2).
 * @param {{name?: string, message?: string}} error
 * @returns {Trouble}
 */
export function troubleOf(error) {
  switch (error.name) {
    case "NotAllowedError":
      return /system/i.test(error.message ?? "") ? "denied-by-system" : "denied";
    case "SecurityError":
      return "denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "missing";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    default:
      return "unknown";
  }
}

/**
 * @typedef {object} Choice
 * @property {string} [camera] device id
 * @property {string} [microphone] device id
 * @property {"user" | "environment"} [facing] on phones, instead of a camera id
 */

/**
 * @param {Choice} choice
 * @returns {MediaStreamConstraints}
 */
export function constraints(choice) {
  const camera = choice.camera
    ? { deviceId: { exact: choice.camera } }
    : { facingMode: choice.facing ?? "user" };
  const microphone = choice.microphone ? { deviceId: { exact: choice.microphone } } : {};
  return {
    video: {
      ...camera,
      width: { ideal: 1280 },
      height: { ideal: 720 },
      frameRate: { ideal: 30, max: 30 },
    },
    audio: { ...microphone, echoCancellation: true, noiseSuppression: true },
  };
}

/**
 * Camera and microphone together, or the one of them that there is; a chosen device that is gone
 * is replaced by the default.
 * @param {Choice} choice
 * @returns {Promise<MediaStream>}
 * @throws {DeviceError}
 */
export async function openDevices(choice) {
  if (!window.isSecureContext) throw new DeviceError("insecure", location.origin);
  if (!navigator.mediaDevices?.getUserMedia || typeof RTCPeerConnection === "undefined") {
    throw new DeviceError("unsupported", navigator.userAgent);
  }
  try {
    return await navigator.mediaDevices.getUserMedia(constraints(choice));
  } catch (error) {
    const trouble = troubleOf(/** @type {DOMException} */ (error));
    if (trouble !== "missing") throw new DeviceError(trouble, error);
    return choice.camera || choice.microphone ? openDevices({}) : openOne(error);
  }
}

/**
 * A microphone alone, or else a camera alone.
 * @param {unknown} cause why not both
 * @returns {Promise<MediaStream>}
 * @throws {DeviceError}
 */
async function openOne(cause) {
  const { audio, video } = constraints({});
  for (const wanted of [{ audio }, { video }]) {
    try {
      return await navigator.mediaDevices.getUserMedia(wanted);
    } catch (error) {
      const trouble = troubleOf(/** @type {DOMException} */ (error));
      if (trouble !== "missing") throw new DeviceError(trouble, error);
    }
  }
  throw new DeviceError("missing", cause);
}

/**
 * Which of the two kinds of device a stream is without, with its note under `check.without-`.
 * @param {{getAudioTracks(): readonly unknown[], getVideoTracks(): readonly unknown[]}} stream
 * @returns {"camera" | "microphone" | null}
 */
export function lacking(stream) {
  if (stream.getVideoTracks().length === 0) return "camera";
  return stream.getAudioTracks().length === 0 ? "microphone" : null;
}

/** @param {MediaStream | null} stream */
export function stopStream(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** @returns {Promise<{cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[]}>} */
export async function listDevices() {
  const all = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.deviceId);
  return {
    cameras: all.filter((device) => device.kind === "videoinput"),
    microphones: all.filter((device) => device.kind === "audioinput"),
  };
}

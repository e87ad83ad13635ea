import assert from "node:assert/strict";
import { test } from "node:test";
import { constraints, DeviceError, lacking, openDevices, troubleOf } from "../../web_client/assets/devices.js";
import { STRINGS } from "../../web_client/assets/strings.js";

const NAMES = ["NotAllowedError", "SecurityError", "NotFoundError", "OverconstrainedError", "NotReadableError", "AbortError", "TypeError"];

test("a person's refusal and the system's are told apart", () => {
  assert.equal(troubleOf({ name: "NotAllowedError", message: "Permission denied" }), "denied");
  assert.equal(troubleOf({ name: "NotAllowedError", message: "Permission denied by system" }), "denied-by-system");
});

test("missing and busy devices are told apart", () => {
  assert.equal(troubleOf({ name: "NotFoundError" }), "missing");
  assert.equal(troubleOf({ name: "NotReadableError" }), "busy");
});

test("every trouble has a title and advice", () => {
  for (const trouble of [...NAMES.map((name) => troubleOf({ name })), "insecure", "unsupported", "denied-by-system"]) {
    assert.ok(STRINGS[`trouble.${trouble}.title`] && STRINGS[`trouble.${trouble}.text`], trouble);
  }
});

test("without a choice the camera that looks at the person is asked for, at 720p and 30 frames", () => {
  const { video } = constraints({});
  assert.equal(video.facingMode, "user");
  assert.deepEqual([video.width.ideal, video.height.ideal, video.frameRate.max], [1280, 720, 30]);
});

test("chosen devices are asked for exactly", () => {
  const { video, audio } = constraints({ camera: "c", microphone: "m" });
  assert.deepEqual(video.deviceId, { exact: "c" });
  assert.deepEqual(audio.deviceId, { exact: "m" });
});

/** A browser with these devices, which says of others that they are not there. */
function browserWith(devices, asked = []) {
  globalThis.window = { isSecureContext: true };
  globalThis.RTCPeerConnection = class {};
  const getUserMedia = async (wanted) => {
    asked.push(Object.keys(wanted).sort().join("+"));
    const kinds = Object.keys(wanted);
    if (kinds.some((kind) => !devices.includes(kind))) throw { name: "NotFoundError" };
    return streamOf(kinds);
  };
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { mediaDevices: { getUserMedia } } });
  return asked;
}

const streamOf = (kinds) => ({
  getAudioTracks: () => kinds.filter((kind) => kind === "audio"),
  getVideoTracks: () => kinds.filter((kind) => kind === "video"),
});

test("whoever has both is asked for both, once", async () => {
  const asked = browserWith(["audio", "video"]);
  assert.equal(lacking(await openDevices({})), null);
  assert.deepEqual(asked, ["audio+video"]);
});

test("a microphone alone is enough, also when a camera was chosen that is gone", async () => {
  browserWith(["audio"]);
  assert.equal(lacking(await openDevices({})), "camera");
  assert.equal(lacking(await openDevices({ camera: "gone", microphone: "m" })), "camera");
});

test("a camera alone is enough", async () => {
  browserWith(["video"]);
  assert.equal(lacking(await openDevices({})), "microphone");
});

test("with neither the devices are missing", async () => {
  browserWith([]);
  await assert.rejects(openDevices({}), (error) => error instanceof DeviceError && error.trouble === "missing");
});

test("who is without one kind is told so", () => {
  for (const kind of ["camera", "microphone"]) assert.ok(STRINGS[`check.without-${kind}`], kind);
});

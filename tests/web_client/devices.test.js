import assert from "node:assert/strict";
import { test } from "node:test";
import { constraints, troubleOf } from "../../web_client/assets/devices.js";
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

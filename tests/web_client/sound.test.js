import assert from "node:assert/strict";
import { test } from "node:test";
import { FLOOR_DBFS, levelDbfs, meterPosition } from "../../web_client/assets/sound.js";

test("a full-scale square wave is 0 dBFS, a sine 3 dB less, silence far below the meter", () => {
  const square = Float32Array.from({ length: 480 }, (_, n) => (n % 2 ? 1 : -1));
  const sine = Float32Array.from({ length: 480 }, (_, n) => Math.sin((2 * Math.PI * n) / 48));
  assert.ok(Math.abs(levelDbfs(square)) < 0.01);
  assert.ok(Math.abs(levelDbfs(sine) + 3.01) < 0.01);
  assert.ok(levelDbfs(new Float32Array(480)) < FLOOR_DBFS);
});

test("the meter goes from its floor to full scale", () => {
  assert.equal(meterPosition(FLOOR_DBFS - 10), 0);
  assert.equal(meterPosition(FLOOR_DBFS / 2), 0.5);
  assert.equal(meterPosition(3), 1);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { pacing } from "../../web_client/assets/side_replay.js";

test("what is a little late plays a little faster, what is early slower, and what is far off jumps", () => {
  assert.equal(pacing(0.01), 1);
  assert.equal(pacing(-0.01), 1);
  assert.equal(pacing(0.06), 1.03);
  assert.equal(pacing(-0.06), 0.97);
  assert.equal(pacing(0.2), 1.05);
  assert.equal(pacing(-0.2), 0.95);
  assert.equal(pacing(3), 1);
});

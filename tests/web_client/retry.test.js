import assert from "node:assert/strict";
import test from "node:test";

import { Retry } from "../../web_client/assets/retry.js";

test("counts down and is due once", () => {
  const retry = new Retry();
  assert.deepEqual([retry.waiting, retry.leftS(0), retry.due(0)], [false, 0, false]);
  retry.begin(10, 1000, 0);
  assert.equal(retry.waiting, true);
  assert.deepEqual([1000, 1001, 2000, 10_999, 12_000].map((now) => retry.leftS(now)), [10, 10, 9, 1, 0]);
  assert.equal(retry.due(10_999), false);
  assert.equal(retry.due(11_000), true);
  assert.deepEqual([retry.due(11_000), retry.waiting], [false, false]);
});

test("those who were refused together come back one after the other", () => {
  const due = [0, 0.5, 1].map((random) => {
    const retry = new Retry();
    retry.begin(10, 0, random);
    return retry.atMs;
  });
  assert.deepEqual(due, [10_000, 11_250, 12_500]);
});

test("what is cleared does not come", () => {
  const retry = new Retry();
  retry.begin(10, 0, 0);
  retry.clear();
  assert.equal(retry.due(1e9), false);
});

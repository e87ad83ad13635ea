import assert from "node:assert/strict";
import { test } from "node:test";
import { rangeOf } from "../../web_client/assets/chart.js";

test("a chart keeps its usual range while values stay inside", () => {
  assert.deepEqual(rangeOf([0, 10], { lowest: 2, highest: 9 }), [0, 10]);
  assert.deepEqual(rangeOf([0, 10], null), [0, 10]);
});

test("a chart's range grows to values outside", () => {
  assert.deepEqual(rangeOf([0, 10], { lowest: -5, highest: 30 }), [-5, 30]);
});

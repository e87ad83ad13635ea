import assert from "node:assert/strict";
import { test } from "node:test";
import { JOIN_LIMIT_S, Series, WINDOW_S } from "../../web_client/assets/series.js";

function seriesOf(...points) {
  const series = new Series();
  for (const [at, value] of points) series.add(at, value);
  return series;
}

test("the latest value is the newest, also when it could not be measured", () => {
  assert.equal(new Series().latest, null);
  assert.equal(seriesOf([1, 5], [2, 7]).latest, 7);
  assert.equal(seriesOf([1, 5], [2, null]).latest, null);
});

test("values that come late or twice are dropped", () => {
  assert.deepEqual(seriesOf([2, 5], [1, 9], [2, 8]).points, [{ at: 2, value: 5 }]);
});

test("memory is bounded by the window", () => {
  const series = new Series();
  for (let at = 0; at < 10_000; at += 0.2) series.add(at, at);
  assert.ok(series.points.length <= (WINDOW_S + JOIN_LIMIT_S) * 5 + 2);
  assert.ok(series.points[0].at >= 9999 - WINDOW_S - JOIN_LIMIT_S - 1);
});

test("a line is interrupted where nothing could be measured", () => {
  const lines = seriesOf([1, 1], [2, 2], [3, null], [4, 4]).stretches(0);
  assert.deepEqual(lines.map((line) => line.map((point) => point.value)), [[1, 2], [4]]);
});

test("a line is interrupted where nothing arrived", () => {
  const lines = seriesOf([1, 1], [1 + JOIN_LIMIT_S, 2], [2.1 + 2 * JOIN_LIMIT_S, 3]).stretches(0);
  assert.deepEqual(lines.map((line) => line.length), [2, 1]);
});

test("values that come seldom are joined further apart", () => {
  const series = new Series(10);
  for (const at of [1, 5, 13, 24]) series.add(at, at);
  assert.deepEqual(series.stretches(0).map((line) => line.length), [3, 1]);
});

test("a summary has the lowest, mean and highest of what was measured", () => {
  const series = seriesOf([1, 2], [2, null], [3, 4], [4, 9]);
  assert.deepEqual(series.summary(0), { lowest: 2, mean: 5, highest: 9 });
  assert.equal(seriesOf([1, null]).summary(0), null);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { Silence } from "../../web_client/assets/silence.js";

/** @param {number[]} pairs bytes received by each */
const reports = (...pairs) => [
  { type: "inbound-rtp", bytesReceived: Math.random() },
  ...pairs.map((bytesReceived) => ({ type: "candidate-pair", bytesReceived })),
  { type: "candidate-pair" }, // that was never used
];

test("silence begins once, and again after something has come by any pair", () => {
  const silence = new Silence();
  const begins = [[0], [5], [5], [5], [5, 1], [5, 1], [5, 1]].map((each) => silence.begins(reports(...each)));
  assert.deepEqual(begins, [false, false, true, false, false, true, false]);
});

test("a connection that was forgotten is compared with nothing", () => {
  const silence = new Silence();
  silence.begins(reports(7));
  silence.forget();
  assert.equal(silence.begins(reports(7)), false);
  assert.equal(silence.begins(reports(7)), true);
});

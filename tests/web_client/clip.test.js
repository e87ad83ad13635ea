// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { marked, momentText, parseMoment } from "../../web_client/assets/clip.js";

test("a time is written as people write times", () => {
  assert.equal(parseMoment("90"), 90);
  assert.equal(parseMoment(" 1:30 "), 90);
  assert.equal(parseMoment("1:02:03.5"), 3723.5);
  assert.equal(parseMoment("1：30,5"), 90.5);
  for (const text of ["", "x", "1:2:3:4", "-1", "1:", ":5", "1e3", "1.5:00"]) assert.equal(parseMoment(text), null, text);
});

test("a time that is told is taken back as the same", () => {
  for (const seconds of [0, 0.1, 59.9, 60, 599.9, 3599.9, 3600, 36_000.5]) {
    assert.equal(parseMoment(momentText(seconds)), seconds, momentText(seconds));
  }
  assert.equal(momentText(59.96), "1:00.0");
  assert.equal(momentText(3723.5), "1:02:03.5");
});

test("a mark beyond the other end moves that one", () => {
  const clip = { start: 10, end: 20 };
  assert.deepEqual(marked(clip, "start", 15, 60), { start: 15, end: 20 });
  assert.deepEqual(marked(clip, "end", 15, 60), { start: 10, end: 15 });
  assert.deepEqual(marked(clip, "start", 30, 60), { start: 30, end: 31 });
  assert.deepEqual(marked(clip, "end", 5, 60), { start: 4, end: 5 });
});

test("a clip stays within the recording", () => {
  assert.deepEqual(marked({ start: 10, end: 20 }, "end", 99, 60), { start: 10, end: 60 });
  assert.deepEqual(marked({ start: 10, end: 20 }, "start", -5, 60), { start: 0, end: 20 });
  assert.deepEqual(marked({ start: 0, end: 60 }, "end", 0.5, 60), { start: 0, end: 0.5 });
});

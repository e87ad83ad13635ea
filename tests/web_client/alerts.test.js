import assert from "node:assert/strict";
import { test } from "node:test";
import { AlertLog } from "../../web_client/assets/alerts.js";

const alert = (id, active, since_s = 0) => ({ id, active, since_s });

test("an alert begins and ends", () => {
  const log = new AlertLog();
  assert.ok(log.take(alert("no-face", true, 5), 8));
  assert.deepEqual(log.entries, [{ id: "no-face", sinceS: 5, endedS: null }]);
  assert.ok(log.take(alert("no-face", false, 5), 12));
  assert.deepEqual(log.entries, [{ id: "no-face", sinceS: 5, endedS: 12 }]);
});

test("an alert is active from its beginning to its end", () => {
  const log = new AlertLog();
  log.take(alert("no-face", true, 1), 1);
  assert.equal(log.isActive("sound-only"), false);
  log.take(alert("sound-only", true, 2), 2);
  assert.equal(log.isActive("sound-only"), true);
  log.take(alert("sound-only", false, 2), 3);
  assert.equal(log.isActive("sound-only"), false);
});

test("the same said twice is not news, nor is the end of what never began", () => {
  const log = new AlertLog();
  assert.equal(log.take(alert("silence", false), 1), false);
  log.take(alert("silence", true), 2);
  assert.equal(log.take(alert("silence", true), 3), false);
  assert.equal(log.entries.length, 1);
});

test("active alerts come first, newest first, then what ended last", () => {
  const log = new AlertLog();
  for (const [id, at] of [["a", 1], ["b", 2], ["c", 3], ["d", 4]]) log.take(alert(id, true, at), at);
  log.take(alert("d", false), 5);
  log.take(alert("a", false), 6);
  assert.deepEqual(log.entries.map((entry) => entry.id), ["c", "b", "a", "d"]);
});

test("the log stays short, and an active alert outlives ended ones", () => {
  const log = new AlertLog();
  log.take(alert("too-dark", true, 0), 0);
  for (let at = 1; at < 50; at += 1) {
    log.take(alert("no-face", true, at), at);
    log.take(alert("no-face", false, at), at + 0.5);
  }
  assert.ok(log.entries.length <= 6);
  assert.equal(log.entries[0].id, "too-dark");
});

test("after a reconnect active alerts are forgotten until they are said again", () => {
  const log = new AlertLog();
  log.take(alert("no-face", true, 1), 1);
  log.forgetActive();
  assert.ok(log.take(alert("no-face", true, 1), 9));
  assert.equal(log.entries.length, 1);
});

test("the end of the interview ends what was active", () => {
  const log = new AlertLog();
  log.take(alert("no-face", true, 1), 1);
  log.endAll(7);
  assert.equal(log.entries[0].endedS, 7);
});

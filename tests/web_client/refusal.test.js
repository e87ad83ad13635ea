import assert from "node:assert/strict";
import { test } from "node:test";
import { homeOf, refusalOf } from "../../web_client/assets/refusal.js";

test("expired, withdrawn, broken and missing links are told apart", () => {
  assert.equal(refusalOf("token-expired"), "expired");
  assert.equal(refusalOf("token-revoked"), "revoked");
  assert.equal(refusalOf("token-invalid"), "invalid");
  assert.equal(refusalOf("token-missing"), "missing");
});

test("a recording that can't be opened is told apart from one that was changed", () => {
  assert.equal(refusalOf("recording-locked"), "locked");
  assert.equal(refusalOf("recording-damaged"), "damaged");
  assert.equal(refusalOf("recording-unreadable"), "other");
});

test("an error that is not known is said to be the server's", () => {
  assert.equal(refusalOf("something-new"), "other");
});

test("a link opened on the wrong page goes to its own", () => {
  assert.equal(homeOf("candidate"), "/join");
  assert.equal(homeOf("interviewer"), "/interview");
  assert.equal(homeOf("observer"), "/observe");
  assert.equal(homeOf("recruiter"), "/observe");
  assert.equal(homeOf("owner"), "/");
});

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { PROTOCOL_VERSION, isFinal, parseMessage } from "../../web_client/assets/protocol.js";
import { refusalOf } from "../../web_client/assets/refusal.js";

const PROTOCOL = readFileSync(new URL("../../server/signaling/protocol.py", import.meta.url), "utf8");

test("a message is an object with a type; anything else is none", () => {
  assert.deepEqual(parseMessage('{"type":"replaced"}'), { type: "replaced" });
  for (const text of ["", "{", "null", "7", '"x"', "[]", "{}", '{"type":7}']) {
    assert.equal(parseMessage(text), null, text);
  }
});

test("the client speaks the server's version", () => {
  assert.match(PROTOCOL, new RegExp(`^PROTOCOL_VERSION = ${PROTOCOL_VERSION}$`, "m"));
});

test("after an error that a retry can cure the client reconnects", () => {
  for (const id of ["server-busy", "internal", "too-many-requests", "bad-sdp"]) assert.equal(isFinal(id), false);
});

test("every error after which the client gives up is one of the server's, and is explained", () => {
  const ids = [...PROTOCOL.matchAll(/^ {4}[A-Z_]+ = "([a-z-]+)"$/gm)].map(([, id]) => id);
  assert.ok(ids.includes("token-revoked"));
  const final = ids.filter(isFinal);
  assert.ok(final.length >= 8);
  for (const id of final.filter((id) => id !== "consent-missing")) assert.notEqual(refusalOf(id), "other", id);
});

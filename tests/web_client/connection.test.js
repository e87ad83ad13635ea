import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, FIRST_DELAY_MS, LONGEST_DELAY_MS, TRANSITIONS } from "../../web_client/assets/connection.js";

function after(...events) {
  const connection = new Connection();
  for (const event of events) assert.ok(connection.on(event), `${event} in ${connection.state}`);
  return connection;
}

test("a connection opens, greets and is online", () => {
  assert.equal(after("start", "open", "welcome").state, "online");
});

test("a lost connection waits, then connects again", () => {
  const connection = after("start", "open", "welcome", "lost");
  assert.equal(connection.state, "waiting");
  connection.on("retry");
  assert.equal(connection.state, "connecting");
});

test("a refusal ends it: nothing but a new start opens it again", () => {
  const connection = after("start", "open", "refused");
  for (const event of ["lost", "retry", "open", "welcome"]) assert.equal(connection.on(event), false);
  assert.ok(connection.on("start"));
});

test("an event that means nothing in a state changes nothing", () => {
  const connection = after("start");
  assert.equal(connection.on("retry"), false);
  assert.equal(connection.state, "connecting");
});

test("every state can be stopped or is stopped, and leads only to states of the table", () => {
  for (const [state, events] of Object.entries(TRANSITIONS)) {
    assert.ok(state === "stopped" || events.stop === "stopped", state);
    for (const next of Object.values(events)) assert.ok(next in TRANSITIONS);
  }
});

test("pauses double from the first to the longest", () => {
  const connection = after("start", "lost");
  const pauses = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    pauses.push(connection.delayMs(1));
    connection.on("retry");
    connection.on("lost");
  }
  assert.equal(pauses[0], FIRST_DELAY_MS);
  assert.equal(pauses[1], 2 * FIRST_DELAY_MS);
  assert.equal(pauses.at(-1), LONGEST_DELAY_MS);
});

test("jitter halves a pause at most", () => {
  const connection = after("start", "lost");
  assert.equal(connection.delayMs(0), FIRST_DELAY_MS / 2);
});

test("being online forgets earlier failures", () => {
  const connection = after("start", "lost", "retry", "lost", "retry", "open", "welcome", "lost");
  assert.equal(connection.failures, 1);
});

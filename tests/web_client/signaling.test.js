import assert from "node:assert/strict";
import { test } from "node:test";

import { Signaling } from "../../web_client/assets/signaling.js";

const welcome = JSON.stringify({ type: "welcome", ice_servers: [{ urls: ["turn:a"] }], server_time_s: 1 });

test("who waits for the relays has them before the page is told, which it may take long to show", () => {
  const signaling = new Signaling("token");
  const order = [];
  signaling.listen({ onMessage: ({ type }) => order.push(type), onState: () => {}, onRefused: () => {} });
  signaling.onceWelcome(() => order.push(signaling.iceServers[0].urls[0]));
  signaling.receive(welcome);
  assert.deepEqual(order, ["turn:a", "welcome"]);
});

test("who asks for the relays when they are known has them at once", () => {
  const signaling = new Signaling("token");
  signaling.receive(welcome);
  let told = 0;
  signaling.onceWelcome(() => (told += 1));
  signaling.receive(welcome);
  assert.equal(told, 1);
});

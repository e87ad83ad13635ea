import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

globalThis.window = { setTimeout: () => 0, clearTimeout() {}, setInterval: () => 0, addEventListener() {} };
globalThis.RTCPeerConnection = class {
  addTransceiver() {}
  async createOffer() {
    return { sdp: "offer" };
  }
  getConfiguration() {
    return {};
  }
  setConfiguration() {}
  async setLocalDescription() {}
  async getStats() {
    return new Map([["video", { type: "inbound-rtp", bytesReceived }]]);
  }
  close() {}
};
const { Watcher } = await import("../../web_client/assets/watcher.js");

let bytesReceived;
let offers;
let watcher;

beforeEach(async () => {
  [bytesReceived, offers] = [0, 0];
  watcher = new Watcher(
    {
      socket: null,
      online: true,
      iceServers: [],
      onAnswer: {},
      onceWelcome: (act) => act(),
      sendWithHello: () => ++offers > 0,
    },
    ["first"],
  );
  watcher.start();
  await checks(1);
  watcher.peer.follow("connected");
});

async function checks(count) {
  for (let at = 0; at < count; at++) {
    await watcher.check();
    await new Promise(setImmediate);
  }
}

test("an observer is not offered afresh while the candidate is away", async () => {
  watcher.follow("live");
  for (bytesReceived = 1000; bytesReceived < 5000; bytesReceived += 1000) await checks(1);
  watcher.follow("interrupted");
  await checks(10);
  assert.equal(offers, 1);
});

test("a candidate who is there and of whom nothing comes is worth another offer", async () => {
  watcher.follow("live");
  await checks(2);
  assert.equal(offers, 1);
  await checks(2);
  assert.equal(offers, 2);
});

test("a connection that was lost while the candidate was away is made when they are back", async () => {
  watcher.follow("interrupted");
  watcher.peer.lose();
  assert.equal(offers, 1);
  watcher.follow("live");
  await checks(1);
  assert.equal(offers, 2);
});

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

/** As much of RTCPeerConnection as a peer sees; what the network does is told by a test. */
class FakeConnection {
  constructor(configuration) {
    FakeConnection.made.push(this);
    this.configuration = configuration;
    this.signalingState = "stable";
    this.connectionState = "new";
    this.localDescription = null;
    this.remoteDescription = null;
    this.generation = 1;
    this.closed = false;
    this.bytesReceived = 0;
  }

  async getStats() {
    return new Map([["pair", { type: "candidate-pair", bytesReceived: this.bytesReceived }]]);
  }

  getConfiguration() {
    return this.configuration;
  }

  setConfiguration(configuration) {
    this.configuration = configuration;
  }

  restartIce() {
    this.generation += 1;
  }

  async createOffer() {
    return { sdp: `offer ${this.generation}` };
  }

  async setLocalDescription(offer) {
    this.signalingState = "have-local-offer";
    this.localDescription = offer ?? (await this.createOffer());
    this.relaysThen = this.configuration.iceServers;
  }

  async setRemoteDescription(description) {
    this.signalingState = "stable";
    this.remoteDescription = description;
  }

  close() {
    this.closed = true;
  }

  /** @param {string} state */
  become(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

const events = new EventTarget();
globalThis.window = {
  setTimeout: (...all) => setTimeout(...all),
  clearTimeout: (timer) => clearTimeout(timer),
  setInterval: () => 0, // `listen` is called by tests
  addEventListener: (...all) => events.addEventListener(...all),
};
globalThis.RTCPeerConnection = FakeConnection;
const { Peer } = await import("../../web_client/assets/peer.js");

let peer;
let online;
let sent;
let lost;
let relays;
let welcome;
let silent;

beforeEach(async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  FakeConnection.made = [];
  welcome = Promise.resolve();
  silent = 0;
  [online, sent, lost, relays] = [true, [], [], [{ urls: ["turn:a"] }]];
  const send = (kind) => (sdp) => online && sent.push(`${kind} ${sdp}`) > 0;
  peer = new Peer({
    configure: () => {},
    offer: send("offer"),
    restart: send("restart"),
    onceWelcome: (act) => void welcome.then(act),
    iceServers: () => relays,
    onState: () => {},
    onLost: (answered) => lost.push(answered),
    onSilent: () => (silent += 1),
  });
  await peer.recover();
  await peer.answered("answer");
  peer.pc.become("connected");
});

afterEach(() => {
  peer.close();
  mock.timers.reset();
});

const turns = () => new Promise((resolve) => setImmediate(resolve));

test("a first connection is offered with the relays the server told of", () => {
  assert.deepEqual(sent, ["offer offer 1"]);
  assert.deepEqual(peer.pc.configuration, { bundlePolicy: "max-bundle", iceServers: relays });
  assert.equal(peer.state, "connected");
});

test("an offer is made before the relays are known, and describes nothing until then", async () => {
  let come;
  welcome = new Promise((resolve) => (come = resolve));
  const renewed = peer.renew();
  const answered = peer.answered("answer");
  await turns();
  assert.deepEqual(sent, ["offer offer 1", "offer offer 1"]);
  assert.deepEqual([peer.pc.localDescription, peer.pc.remoteDescription], [null, null]);
  relays = [{ urls: ["turn:b"] }];
  come();
  await Promise.all([renewed, answered]);
  await peer.answered("answer");
  assert.deepEqual(peer.pc.relaysThen, relays);
  assert.deepEqual(peer.pc.remoteDescription, { type: "answer", sdp: "answer" });
});

test("a connection that is given up before the relays are known is left alone", async () => {
  let come;
  welcome = new Promise((resolve) => (come = resolve));
  void peer.renew();
  await turns();
  const [, former] = FakeConnection.made;
  peer.close();
  come();
  await turns();
  assert.deepEqual([former.closed, former.localDescription, lost], [true, null, []]);
});

test("a lost path is looked for by a restart on the same connection, with fresh relays", async () => {
  relays = [{ urls: ["turn:b"] }];
  peer.pc.become("disconnected");
  await turns();
  assert.deepEqual(sent.slice(1), ["restart offer 2"]);
  assert.equal(peer.state, "unsteady");
  await peer.answered("answer 2");
  peer.pc.become("connected");
  assert.equal(peer.state, "connected");
  assert.equal(FakeConnection.made.length, 1);
  assert.deepEqual(peer.pc.configuration, { bundlePolicy: "max-bundle", iceServers: relays });
  mock.timers.tick(60_000);
  assert.deepEqual(lost, []);
});

test("a restart that was answered and finds no path within four seconds is given up", async () => {
  peer.pc.become("disconnected");
  await turns();
  await peer.answered("answer 2");
  mock.timers.tick(3_900);
  assert.deepEqual(lost, []);
  mock.timers.tick(200);
  assert.deepEqual([lost, peer.state, FakeConnection.made[0].closed], [[true], "lost", true]);
});

test("a path that fails again during a restart that was answered is given up at once", async () => {
  peer.pc.become("failed");
  await turns();
  assert.deepEqual(sent.slice(1), ["restart offer 2"]);
  await peer.answered("answer 2");
  peer.pc.become("failed");
  assert.deepEqual([lost, peer.state], [[true], "lost"]);
});

test("a restart that is not answered doubts signalling and keeps the connection", async () => {
  peer.pc.become("disconnected");
  await turns();
  mock.timers.tick(4_100);
  peer.pc.become("failed");
  assert.deepEqual([lost, peer.state, FakeConnection.made[0].closed], [[false], "unsteady", false]);
  await peer.recover(); // as after the next `welcome`
  assert.deepEqual(sent.slice(1), ["restart offer 2", "restart offer 3"]);
  await peer.answered("answer 3");
  peer.pc.become("connected");
  assert.deepEqual([peer.state, FakeConnection.made.length], ["connected", 1]);
});

test("without signalling nothing is given up", async () => {
  online = false;
  peer.pc.become("disconnected");
  await turns();
  mock.timers.tick(60_000);
  assert.deepEqual([sent.length, lost, peer.state], [1, [], "unsteady"]);
  online = true;
  await peer.recover();
  assert.deepEqual(sent.slice(1), ["restart offer 3"]);
});

test("signalling that came back alone disturbs nothing that flows", async () => {
  await peer.recover();
  assert.equal(peer.state, "connected");
  await peer.answered("answer 2");
  assert.equal(peer.state, "connected");
  mock.timers.tick(60_000);
  assert.deepEqual(lost, []);
  peer.pc.become("disconnected"); // and the next loss is looked after as the first
  await turns();
  assert.deepEqual(sent.slice(1), ["restart offer 2", "restart offer 3"]);
});

test("a network that comes back is used at once", async () => {
  events.dispatchEvent(new Event("online"));
  events.dispatchEvent(new Event("online"));
  await turns();
  assert.deepEqual(sent.slice(1), ["restart offer 2"]);
});

test("a connection from which nothing comes any more is told of once", async () => {
  for (const bytes of [100, 200, 200, 200, 300, 300]) {
    peer.pc.bytesReceived = bytes;
    await peer.listen();
  }
  assert.equal(silent, 2);
  peer.pc.become("disconnected"); // it is known
  await peer.listen();
  await peer.listen();
  assert.equal(silent, 2);
});

test("a connection the server has given up is made anew", async () => {
  peer.refused(); // of something else
  assert.equal(FakeConnection.made.length, 1);
  peer.pc.become("disconnected");
  await turns();
  peer.refused();
  await turns();
  assert.deepEqual([FakeConnection.made[0].closed, sent.at(-1)], [true, "offer offer 1"]);
  assert.equal(peer.state, "connecting");
});

test("a first connection that fails is not restarted but made anew", async () => {
  await peer.renew();
  await peer.answered("answer");
  peer.pc.become("failed");
  assert.deepEqual([lost, sent.length], [[true], 2]);
});

test("a first offer without an answer doubts signalling", async () => {
  await peer.renew();
  mock.timers.tick(10_100);
  assert.deepEqual([lost, peer.state], [[false], "lost"]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { FullSize, isWeak, offerSoundRepairs, preferCodecs } from "../../web_client/assets/publisher.js";

const codec = (name, sdpFmtpLine) => ({ mimeType: `video/${name}`, sdpFmtpLine });
const H264 = (profile, mode = 1) =>
  codec("H264", `level-asymmetry-allowed=1;packetization-mode=${mode};profile-level-id=${profile}`);

test("constrained baseline H.264 comes first, VP8 last, then retransmission", () => {
  const [vp9, av1] = [codec("VP9", "profile-id=0"), codec("AV1", "level-idx=5;profile=0;tier=0")];
  const offered = [codec("rtx"), codec("VP8"), H264("4d001f"), av1, vp9, H264("42e01f")];
  const expected = [H264("42e01f"), H264("4d001f"), vp9, av1, codec("VP8"), codec("rtx")];
  assert.deepEqual(preferCodecs(offered), expected);
});

test("what the server does not record is not offered", () => {
  const offered = [H264("42e01f", 0), codec("VP9", "profile-id=2"), codec("AV1", "level-idx=5;profile=1;tier=0")];
  assert.deepEqual(preferCodecs([...offered, codec("ulpfec"), codec("VP8")]), [codec("VP8")]);
});

test("profile 0 is meant where none is named", () => {
  assert.deepEqual(preferCodecs([codec("AV1"), codec("VP9")]), [codec("VP9"), codec("AV1")]);
});

test("lost sound may be asked for again, which is offered once", () => {
  const lines = ["a=rtpmap:111 opus/48000/2", "a=rtcp-fb:111 transport-cc", "a=rtpmap:96 VP8/90000", ""];
  const offered = offerSoundRepairs(lines.join("\r\n"));
  assert.deepEqual(offered.split("\r\n"), lines.toSpliced(1, 0, "a=rtcp-fb:111 nack"));
  assert.equal(offerSoundRepairs(offered), offered);
});

test("a connection is weak when the server reports loss or a long way", () => {
  const report = (values) => [{ type: "remote-inbound-rtp", ...values }];
  assert.equal(isWeak(report({ fractionLost: 0.01, roundTripTime: 0.1 })), false);
  assert.equal(isWeak(report({ fractionLost: 0.2 })), true);
  assert.equal(isWeak(report({ roundTripTime: 0.9 })), true);
  assert.equal(isWeak([{ type: "inbound-rtp", fractionLost: 1 }]), false);
  assert.equal(isWeak([]), false);
});

const sending = (bitrate, reason = "bandwidth") => [
  { type: "outbound-rtp", kind: "audio" },
  { type: "outbound-rtp", kind: "video", qualityLimitationReason: reason },
  { type: "candidate-pair", nominated: false, availableOutgoingBitrate: 9e6 },
  { type: "candidate-pair", nominated: true, availableOutgoingBitrate: bitrate },
];

test("a small picture with room is kept at full size for one look, then balanced again", () => {
  const camera = new FullSize();
  assert.equal(camera.look(sending(300_000), 2), null);
  assert.equal(camera.look(sending(1_500_000), 4), "maintain-resolution");
  assert.equal(camera.look(sending(1_500_000, "none"), 6), "balanced");
  assert.equal(camera.look(sending(1_500_000, "none"), 100), null);
  assert.equal(camera.look(sending(1_500_000), 200), "maintain-resolution");
  assert.equal(camera.look(sending(1_500_000), 202), "balanced");
  assert.equal(camera.look(sending(1_500_000), 212), "maintain-resolution", "as soon as the first time");
});

test("of a path that was left, which stays nominated, no bitrate is known", () => {
  const left = { type: "candidate-pair", nominated: true };
  const camera = new FullSize();
  assert.equal(camera.look([left, ...sending(1_500_000), left], 4), "maintain-resolution");
});

test("a picture that shrinks again is tried later each time", () => {
  const camera = new FullSize();
  const tries = [];
  for (let now = 0; now < 200; now += 2) {
    if (camera.look(sending(1_500_000), now) === "maintain-resolution") tries.push(now);
  }
  assert.deepEqual(tries, [0, 12, 34, 76, 158]);
});

test("a slow computer is not asked for more, nor one of which nothing is known", () => {
  const camera = new FullSize();
  assert.equal(camera.look(sending(1_500_000, "cpu"), 0), null);
  assert.equal(camera.look([], 2), null);
});

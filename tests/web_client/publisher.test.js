import assert from "node:assert/strict";
import { test } from "node:test";
import { isWeak, preferCodecs } from "../../web_client/assets/publisher.js";

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

test("a connection is weak when the server reports loss or a long way", () => {
  const report = (values) => [{ type: "remote-inbound-rtp", ...values }];
  assert.equal(isWeak(report({ fractionLost: 0.01, roundTripTime: 0.1 })), false);
  assert.equal(isWeak(report({ fractionLost: 0.2 })), true);
  assert.equal(isWeak(report({ roundTripTime: 0.9 })), true);
  assert.equal(isWeak([{ type: "inbound-rtp", fractionLost: 1 }]), false);
  assert.equal(isWeak([]), false);
});

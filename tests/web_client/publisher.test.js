import assert from "node:assert/strict";
import { test } from "node:test";
import { isWeak, preferCodecs } from "../../web_client/assets/publisher.js";

const codec = (name, sdpFmtpLine) => ({ mimeType: `video/${name}`, sdpFmtpLine });
const H264 = (profile, mode = 1) =>
  codec("H264", `level-asymmetry-allowed=1;packetization-mode=${mode};profile-level-id=${profile}`);

test("constrained baseline H.264 comes first, then other H.264, then VP8, then retransmission", () => {
  const offered = [codec("rtx"), codec("VP8"), H264("4d001f"), codec("VP9"), H264("42e01f"), codec("AV1")];
  assert.deepEqual(preferCodecs(offered), [H264("42e01f"), H264("4d001f"), codec("VP8"), codec("rtx")]);
});

test("H.264 in single NAL unit mode is not offered", () => {
  assert.deepEqual(preferCodecs([H264("42e01f", 0), codec("VP8")]), [codec("VP8")]);
});

test("a browser without H.264 offers VP8", () => {
  assert.deepEqual(preferCodecs([codec("VP9"), codec("VP8")]), [codec("VP8")]);
});

test("a connection is weak when the server reports loss or a long way", () => {
  const report = (values) => [{ type: "remote-inbound-rtp", ...values }];
  assert.equal(isWeak(report({ fractionLost: 0.01, roundTripTime: 0.1 })), false);
  assert.equal(isWeak(report({ fractionLost: 0.2 })), true);
  assert.equal(isWeak(report({ roundTripTime: 0.9 })), true);
  assert.equal(isWeak([{ type: "inbound-rtp", fractionLost: 1 }]), false);
  assert.equal(isWeak([]), false);
});

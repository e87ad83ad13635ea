/** `node wrtc.mjs publish|view URL`: libwebrtc without a browser around it. */

import wrtc from "@roamhq/wrtc";

import { Counter, endWithInput, exchange } from "./session.mjs";

const [, , act, url] = process.argv;
const { RTCAudioSink, RTCAudioSource, RTCVideoSink, RTCVideoSource } = wrtc.nonstandard;
const SIZE = { width: 320, height: 240 };
const SAMPLES = 480; // 10 ms at 48 kHz

const pc = new wrtc.RTCPeerConnection({ bundlePolicy: "max-bundle" });
pc.onconnectionstatechange = () => console.log(pc.connectionState);

function publish() {
  const [sound, picture] = [new RTCAudioSource(), new RTCVideoSource()];
  for (const source of [sound, picture]) {
    pc.addTransceiver(source.createTrack(), { direction: "sendonly" });
  }
  let shown = 0;
  setInterval(() => {
    const data = new Uint8ClampedArray((SIZE.width * SIZE.height * 3) / 2).fill(128);
    data.fill(255, 0, (++shown % SIZE.height) * SIZE.width); // a white that goes down
    picture.onFrame({ ...SIZE, data });
  }, 33);
  const samples = Int16Array.from({ length: SAMPLES }, (_, at) => 8000 * Math.sin((at / SAMPLES) * 8 * Math.PI));
  setInterval(() => {
    sound.onData({ samples, sampleRate: 48_000, bitsPerSample: 16, channelCount: 1, numberOfFrames: SAMPLES });
  }, 10);
}

function view() {
  const counter = new Counter(["audio", "video"], 25);
  for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  pc.ontrack = ({ track }) => {
    if (track.kind === "video") new RTCVideoSink(track).onframe = () => counter.count("video");
    else new RTCAudioSink(track).ondata = () => counter.count("audio");
  };
}

(act === "publish" ? publish : view)();
await pc.setLocalDescription(await pc.createOffer());
endWithInput(await exchange(url, pc), () => pc.close());

/** `node werift.mjs publish|view URL`: WebRTC in TypeScript, nothing of it shared with browsers. */

import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";

import { MediaStreamTrack, RTCPeerConnection } from "werift";

import { Counter, endWithInput, exchange } from "./session.mjs";

const [, , act, url] = process.argv;
const pc = new RTCPeerConnection({
  iceServers: [],
  iceUseIpv6: false,
  iceAdditionalHostAddresses: ["127.0.0.1"],
});
pc.connectionStateChange.subscribe((state) => console.log(state));
const children = [];

/** A track of the RTP that comes to a port of its own. */
async function incoming(kind) {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const track = new MediaStreamTrack({ kind });
  socket.on("message", (packet) => track.writeRtp(packet));
  return { track, target: `rtp://127.0.0.1:${socket.address().port}?pkt_size=1200` };
}

async function publish() {
  const [sound, picture] = [await incoming("audio"), await incoming("video")];
  for (const { track } of [sound, picture]) pc.addTransceiver(track, { direction: "sendonly" });
  const arguments_ =
    "-v error -re -f lavfi -i testsrc2=size=320x240:rate=30 -re -f lavfi -i sine=frequency=440 " +
    `-map 0:v -c:v libvpx -deadline realtime -b:v 300k -g 15 -f rtp ${picture.target} ` +
    `-map 1:a -c:a libopus -ar 48000 -f rtp ${sound.target}`;
  pc.connectionStateChange.subscribe((state) => {
    if (state === "connected" && children.length === 0) {
      children.push(spawn("ffmpeg", arguments_.split(" "), { stdio: ["ignore", "ignore", "inherit"] }));
    }
  });
}

function view() {
  const counter = new Counter(["audio", "video"], 50);
  for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  pc.onTrack.subscribe((track) => track.onReceiveRtp.subscribe(() => counter.count(track.kind)));
}

await (act === "publish" ? publish() : view());
await pc.setLocalDescription(await pc.createOffer());
endWithInput(await exchange(url, pc), async () => {
  for (const child of children) child.kill();
  await pc.close();
});

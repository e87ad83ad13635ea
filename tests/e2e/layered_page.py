"""Pages that send a simulcast of a drawn, moving picture, or receive it; none of ours."""

from typing import Any

from playwright.async_api import Page

#: Three sizes of 720p, each in temporal layers.
THREE = [
    {"rid": "h", "maxBitrate": 1_200_000, "scalabilityMode": "L1T3"},
    {
        "rid": "m",
        "scaleResolutionDownBy": 2,
        "maxBitrate": 400_000,
        "scalabilityMode": "L1T3",
    },
    {
        "rid": "l",
        "scaleResolutionDownBy": 4,
        "maxBitrate": 150_000,
        "scalabilityMode": "L1T3",
    },
]

_SEND = """async ([encodings, codec]) => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [1280, 720];
  const context = canvas.getContext('2d');
  let count = 0;
  setInterval(() => {
    context.fillStyle = `hsl(${count % 360} 40% 40%)`;
    context.fillRect(0, 0, 1280, 720);
    for (let at = 0; at < 40; at += 1) {
      context.fillStyle = `hsl(${(at * 37 + count) % 360} 80% 60%)`;
      context.fillRect((at * 173 + 5 * count) % 1280, (at * 97) % 720, 60, 40);
    }
    count += 1;
  }, 50);
  window.pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  const [track] = canvas.captureStream(20).getVideoTracks();
  const transceiver = pc.addTransceiver(track, {direction: 'sendonly', sendEncodings: encodings});
  const codecs = RTCRtpSender.getCapabilities('video').codecs;
  const mimes = [`video/${codec}`, 'video/rtx'];
  transceiver.setCodecPreferences(codecs.filter((each) => mimes.includes(each.mimeType)));
  const sound = new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0];
  pc.addTransceiver(sound, {direction: 'sendonly'});
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
_RECEIVE = """async () => {
  window.pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  pc.ontrack = ({track}) => {
    if (track.kind !== 'video') return;
    video.srcObject = new MediaStream([track]);
    void video.play();
  };
  pc.addTransceiver('video', {direction: 'recvonly'});
  pc.addTransceiver('audio', {direction: 'recvonly'});
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
_STATS = """async (type) => {
  for (const each of (await pc.getStats()).values()) {
    if (each.type === type && each.kind === 'video') return each;
  }
  return null;
}"""
_ACTIVATE = """async (rids) => {
  const [sender] = pc.getSenders();
  const parameters = sender.getParameters();
  for (const encoding of parameters.encodings) encoding.active = rids.includes(encoding.rid);
  await sender.setParameters(parameters);
}"""


async def offer_to_send(page: Page, encodings: list[dict[str, Any]], codec: str) -> str:
    """The page draws 20 pictures a second and offers them; `codec`: VP8, VP9, H264 or AV1."""
    sdp: str = await page.evaluate(_SEND, [encodings, codec])
    return sdp


async def offer_to_receive(page: Page, *, tells: bool = False) -> str:
    """`tells`: how packets arrive; else what its line takes is not estimated."""
    sdp: str = await page.evaluate(_RECEIVE)
    if tells:
        return sdp
    lines = sdp.splitlines(keepends=True)
    told = ("transport-wide-cc", "transport-cc")
    return "".join(line for line in lines if not any(each in line for each in told))


async def answered(page: Page, sdp: str) -> None:
    await page.evaluate("(sdp) => pc.setRemoteDescription({type: 'answer', sdp})", sdp)


async def send_only(page: Page, *rids: str) -> None:
    """The browser goes on with these layers alone, as when its network has no room for others."""
    await page.evaluate(_ACTIVATE, list(rids))


async def received(page: Page) -> dict[str, Any]:
    """The video's `inbound-rtp` statistics."""
    stats: dict[str, Any] = await page.evaluate(_STATS, "inbound-rtp")
    return stats

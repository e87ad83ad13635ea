"""The browsers of the end-to-end tests see and hear what the files hold."""

import av
import numpy as np

from tests.e2e.chromium import ChromiumLauncher, FakeDevices
from tests.e2e.media_files import FPS, HEIGHT, LOOP_S, RATE_HZ, WIDTH

_CAPTURE = """async () => {
  const stream = await navigator.mediaDevices.getUserMedia({video: true, audio: true});
  const video = document.createElement('video');
  video.srcObject = stream;
  video.muted = true;
  await video.play();
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let loudest = 0;
  while (loudest < 0.01) {
    await new Promise(requestAnimationFrame);
    analyser.getFloatTimeDomainData(samples);
    loudest = Math.max(loudest, ...samples.map(Math.abs));
  }
  return {width: video.videoWidth, height: video.videoHeight, loudest};
}"""


async def test_chromium_captures_the_face_and_the_voice(chromium: ChromiumLauncher) -> None:
    page = await (await chromium.launch()).new_page()
    # A secure context without a server: Playwright answers for it.
    await page.route("http://localhost/", lambda route: route.fulfill(body="<p>capture</p>"))
    await page.goto("http://localhost/")
    captured = await page.evaluate(_CAPTURE)
    assert (captured["width"], captured["height"]) == (WIDTH, HEIGHT)
    assert captured["loudest"] >= 0.01


def test_the_camera_file_moves_and_the_microphone_file_speaks(devices: FakeDevices) -> None:
    with av.open(str(devices.camera), format="mjpeg") as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(pictures) == FPS * LOOP_S
    assert abs(pictures[0].astype(int) - pictures[FPS]).mean() > 1
    with av.open(str(devices.microphone)) as container:
        stream = container.streams.audio[0]
        assert stream.rate == RATE_HZ
        sound = [frame.to_ndarray().astype(np.int32) for frame in container.decode(stream)]
        assert max(int(np.abs(samples).max()) for samples in sound) > 3_000

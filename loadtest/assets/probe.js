// Runs in an observer's page before its own code: counts what is shown and heard.
// Times are milliseconds since the navigation began (performance.now()).
(() => {
  const FREEZE_MS = 200;
  const probe = { firstPictureMs: null, frames: 0, freezesMs: [], level: 0, last: null };
  window.vivavoceProbe = probe;

  const frameShown = (video) => (now) => {
    probe.firstPictureMs ??= now;
    probe.frames += 1;
    probe.note(now);
    probe.last = now;
    video.requestVideoFrameCallback(frameShown(video));
  };

  probe.note = (now) => {
    if (probe.last !== null && now - probe.last > FREEZE_MS) probe.freezesMs.push(now - probe.last);
  };

  // Measuring starts: forgets what was before, and listens from now on.
  probe.begin = async (video) => {
    Object.assign(probe, { frames: 0, freezesMs: [], level: 0, begun: performance.now() });
    probe.last = probe.begun;
    probe.dropped = video.getVideoPlaybackQuality().droppedVideoFrames;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(video.srcObject).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      probe.level = Math.max(probe.level, Math.sqrt(power));
    }, 20);
  };

  probe.end = (video) => {
    const now = performance.now();
    probe.note(now);
    return {
      frames_per_s: (1000 * probe.frames) / (now - probe.begun),
      frames_dropped: video.getVideoPlaybackQuality().droppedVideoFrames - probe.dropped,
      freezes: probe.freezesMs.length,
      longest_freeze_ms: probe.freezesMs.length ? Math.max(...probe.freezesMs) : null,
      sound_dbfs: probe.level > 0 ? 20 * Math.log10(probe.level) : null,
    };
  };

  document.addEventListener("DOMContentLoaded", () => {
    const video = document.getElementById("video");
    video.requestVideoFrameCallback(frameShown(video));
  });
})();

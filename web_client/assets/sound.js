// @ts-check
/** Measuring the microphone's level and playing a test tone. */

/** Speech nearer than this to silence is too quiet to be heard well, in dBFS. */
export const AUDIBLE_DBFS = -45;
/** The meter's left end, in dBFS. */
export const FLOOR_DBFS = -70;

/**
 * RMS level in dBFS, where 0 is a full-scale square wave.
 * @param {Float32Array} samples -1..1
 */
export function levelDbfs(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return 10 * Math.log10(sum / samples.length + 1e-12);
}

/**
 * Where a level stands on the meter, 0..1.
 * @param {number} dbfs
 */
export function meterPosition(dbfs) {
  return Math.min(1, Math.max(0, 1 - dbfs / FLOOR_DBFS));
}

/**
 * Report the level of a stream's sound ten times a second.
 * @param {MediaStream} stream
 * @param {(dbfs: number) => void} onLevel
 * @returns {() => void} stop
 */
export function watchLevel(stream, onLevel) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 4096;
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = window.setInterval(() => {
    // Without a gesture on the page the context starts suspended.
    if (context.state === "suspended") void context.resume().catch(() => {});
    analyser.getFloatTimeDomainData(samples);
    onLevel(levelDbfs(samples));
  }, 100);
  return () => {
    window.clearInterval(timer);
    void context.close();
  };
}

const TONE_HZ = [440, 554.37, 659.25];
const TONE_S = 0.35;

/** Three soft notes, one after the other; resolves when they have ended. */
export async function playTone() {
  const context = new AudioContext();
  const gain = context.createGain();
  gain.gain.value = 0;
  gain.connect(context.destination);
  TONE_HZ.forEach((frequency, index) => {
    const start = context.currentTime + 0.05 + index * TONE_S;
    const oscillator = new OscillatorNode(context, { type: "sine", frequency });
    oscillator.connect(gain);
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(0.2, start + 0.03);
    gain.gain.linearRampToValueAtTime(0, start + TONE_S);
    oscillator.start(start);
    oscillator.stop(start + TONE_S);
  });
  await new Promise((resolve) => window.setTimeout(resolve, (TONE_HZ.length * TONE_S + 0.2) * 1000));
  await context.close();
}

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AHEAD_AT_FIRST_S, AHEAD_S, BEHIND_S, MOST_AT_ONCE, entryPlace, forgettable, grown, hasPicture, holeAt, holes, interruptions, isBuffered, isComing,
  liveness, neighbour, nudge, ofSide, placeAt, spansOf, wanted,
} from "../../web_client/assets/replay.js";

/** One-second fragments at these times; those in `keys` begin with a keyframe. */
const at = (times, keys = times) =>
  times.map((start_s, n) => ({ seq: n + 1, start_s, duration_s: 1, keyframe: keys.includes(start_s), init: 0 }));
const span = (start_s, end_s) => ({ start_s, end_s });

test("the fragment of a time is the last that starts at or before it", () => {
  const fragments = at([0, 1, 2, 3]);
  assert.deepEqual([-1, 0, 0.99, 1, 2.5, 99].map((time) => placeAt(fragments, time)), [0, 0, 0, 1, 2, 3]);
  assert.equal(placeAt([], 5), 0);
});

test("loading begins at the last keyframe before the time", () => {
  const fragments = at([0, 1, 2, 3, 4], [0, 3]);
  assert.deepEqual([0.5, 2.9, 3, 4.5].map((time) => entryPlace(fragments, time)), [0, 0, 3, 3]);
});

test("where the recording does not begin with a keyframe, loading begins at the first one", () => {
  assert.equal(entryPlace(at([0, 1, 2, 3], [2]), 0.5), 2);
  assert.equal(entryPlace(at([0, 1], []), 1.5), 0);
});

test("loading stays ahead of the playing position by many fragments at a time, and no further", () => {
  const fragments = at(Array.from({ length: 100 }, (_, second) => second));
  const now = 50;
  const due = (place) => wanted(fragments, place, now, 0);
  const last = now + AHEAD_S - MOST_AT_ONCE;
  assert.equal(due(last), MOST_AT_ONCE);
  assert.equal(due(last + 1), 0, "one of them is too far ahead yet");
  assert.equal(wanted(fragments, last + 1, now + 1, 0), MOST_AT_ONCE);
  assert.equal(wanted(fragments, 97, 90, 0), 3, "the last ones at once");
  assert.equal(wanted(fragments, 100, 99, 0), 0, "there is none after the last");
});

test("little is loaded at once where little is loaded, or playing would wait for all of it", () => {
  const fragments = at(Array.from({ length: 400 }, (_, half) => half / 2)).map((each) => ({ ...each, duration_s: 0.5 }));
  assert.equal(wanted(fragments, 100, 50, 50), 3, "what is played next is wanted soon");
  assert.equal(wanted(fragments, 100, 51, 51), 5, "also where it begins before it");
  assert.equal(wanted(fragments, 103, 50, 50), 7);
  assert.equal(wanted(fragments, 110, 50, 50), MOST_AT_ONCE);
});

for (const [speed, latency_s, most_s] of [[1.2, 0.2, 2], [2, 0.2, 0.6], [4, 0.2, 0], [20, 0.02, 0]]) {
  test(`over a network ${speed} times as fast as playing, ${latency_s} s away, playing waits ${most_s} s at most`, () => {
    const length_s = 0.75;
    const fragments = at(Array.from({ length: 200 }, (_, n) => n * length_s)).map((each) => ({ ...each, duration_s: length_s }));
    const step_s = 0.01;
    let [time, place, waited_s, count] = [0, 0, 0, 0];
    let there_s = 0;
    for (let now = 0; time < 60; now += step_s) {
      if (count > 0 && now >= there_s) [place, count] = [place + count, 0];
      if (count === 0) {
        count = wanted(fragments, place, time, 0);
        there_s = now + latency_s + (count * length_s) / speed;
      }
      if (place * length_s > time) time += step_s;
      else if (place > 0) waited_s += step_s;
    }
    assert.ok(waited_s <= most_s + step_s, String(waited_s));
  });
}

test("where loading begins it is less far ahead, and then gets further while one plays", () => {
  const fragments = at(Array.from({ length: 100 }, (_, second) => second));
  const since = 30;
  /** How far ahead one is, having loaded all that was wanted at each second. */
  const ahead = [];
  let place = since;
  for (let time = since; time < since + 40; time += 1) {
    for (let count; (count = wanted(fragments, place, time, since)) > 0; ) place += count;
    ahead.push(place - time);
  }
  assert.ok(ahead[0] >= AHEAD_AT_FIRST_S / 2 && ahead[0] <= AHEAD_AT_FIRST_S, "nobody has pressed play");
  assert.ok(Math.max(...ahead.slice(0, 10)) < AHEAD_S - 4, String(ahead));
  assert.ok(Math.max(...ahead) <= AHEAD_S && Math.min(...ahead.slice(25)) >= AHEAD_S - MOST_AT_ONCE, String(ahead));
  assert.ok(Math.min(...ahead) >= 2, "there always is something to play");
});

test("what is loaded in one request is of one coding, without a hole, and of numbers near to each other", () => {
  const seconds = at([0, 1, 2, 3, 4, 5, 6]);
  const but = (n, change) => seconds.map((each, place) => (place < n ? each : { ...each, ...change(each) }));
  assert.equal(wanted(but(4, () => ({ init: 1 })), 2, 0, 0), 2);
  assert.equal(wanted(but(4, ({ start_s }) => ({ start_s: start_s + 9 })), 2, 0, 0), 2);
  assert.equal(wanted(but(5, ({ seq }) => ({ seq: seq + 20 })), 2, 0, 0), 3);
});

test("a seek that loading reaches in order does not start over", () => {
  const fragments = at([0, 1, 2, 3, 4, 5], [0, 3]);
  assert.ok(isComing(fragments, 1, 2.5));
  assert.equal(isComing(fragments, 1, 3.5), false, "a later keyframe is nearer");
  assert.equal(isComing(fragments, 5, 2.5), false, "it is past");
});

test("holes are where no fragment is, the beginning included", () => {
  assert.deepEqual(holes(at([2, 3, 8])), [span(0, 2), span(4, 8)]);
  assert.deepEqual(holes(at([0, 1, 2.2])), [], "a short pause plays through");
});

test("in a hole, or just before it, playing goes on after it", () => {
  const spans = holes(at([0, 1, 7]));
  assert.deepEqual(holeAt(spans, 4), span(2, 7));
  assert.deepEqual(holeAt(spans, 1.95), span(2, 7));
  assert.equal(holeAt(spans, 1.5), null);
  assert.equal(holeAt(spans, 7), null);
});

test("a time is buffered when it is not at the very edge", () => {
  const buffered = [span(0, 5), span(8, 9)];
  assert.deepEqual([0, 4.8, 4.99, 6, 8.5].map((time) => isBuffered(buffered, time)), [true, true, false, false, true]);
});

test("a stall just before a buffered range is overcome, a far one is loaded", () => {
  const fragments = at([0, 1, 2.1, 3.1]);
  assert.equal(nudge([span(0.02, 5)], fragments, 0), 0.021);
  assert.equal(nudge([span(3, 5)], fragments, 0), null);
  assert.equal(nudge([span(0, 5)], fragments, 2), null);
  assert.equal(nudge([span(0, 2), span(2.1, 5)], fragments, 2.05), 2.101);
  assert.equal(nudge([span(2.1, 5)], fragments, 1.9), null, "what comes before is not loaded yet");
});

test("what was played long ago is forgotten, what is near is kept", () => {
  const time = 100;
  const limit = time - BEHIND_S;
  const near = (found, wanted) => {
    assert.equal(found.length, wanted.length);
    found.forEach((each, n) => {
      assert.equal(each.start_s, wanted[n].start_s);
      assert.ok(Math.abs(each.end_s - wanted[n].end_s) < 0.01, `${each.end_s}`);
    });
  };
  const fragments = at([0, 50, 60, 78, 81, 99], [0, 50, 60, 81]);
  near(forgettable([span(0, 10), span(50, 110)], fragments, time), [span(0, 10), span(50, 60)]);
  assert.ok(forgettable([span(50, 110)], fragments, time)[0].end_s < 60, "all from the keyframe on stays");
  near(forgettable([span(50, 110)], at([limit]), time), [span(50, limit)]);
  near(forgettable([span(60, 120)], fragments, time), []);
  near(forgettable([span(0, 120)], at([0, 1, 99], [0]), time), []);
});

test("gaps of both tracks at the same time are one interruption with all its causes", () => {
  const gap = (track, start_s, end_s, cause, lost = 0) => ({ track, start_s, end_s, cause, lost });
  const joined = interruptions([
    gap("microphone", 5.2, 9, "disconnected"),
    gap("camera", 5, 8.5, "disconnected", 3),
    gap("camera", 8.6, 8.8, "packets-lost", 2),
    gap("camera", 20, 20.1, "packets-lost", 1),
  ]);
  assert.deepEqual(joined, [
    { start_s: 5, end_s: 9, tracks: ["camera", "microphone"], causes: ["disconnected", "packets-lost"], lost: 5 },
    { start_s: 20, end_s: 20.1, tracks: ["camera"], causes: ["packets-lost"], lost: 1 },
  ]);
});

test("a picture that stands because nothing came is told from one of somebody who sits still", () => {
  const gap = (track, start_s, end_s) => ({ track, start_s, end_s, cause: "paused", lost: 0 });
  const index = { tracks: ["camera", "microphone"], gaps: [gap("camera", 10, 30), gap("microphone", 40, 60)] };
  assert.deepEqual([5, 12, 20, 30, 50].map((time) => hasPicture(index, time)), [true, true, false, true, true]);
  assert.equal(hasPicture({ tracks: ["microphone"], gaps: [] }, 0), false);
  assert.equal(hasPicture({ tracks: [], gaps: [] }, 0), true, "nothing is known yet");
});

test("the screen and the interviewer have replays of their own, of the fragments with them", () => {
  for (const side of ["screen", "interviewer"]) {
    const fragments = at([0, 1, 2, 3]).map((fragment, n) => ({
      ...fragment, screen: null, interviewer: null, [side]: n === 0 ? null : n - 1 >> 1, [`${side}_keyframe`]: n === 1,
    }));
    const inits = [{ mime: "video/mp4; a", width: 1, height: 1 }, { mime: "video/mp4; b", width: 2, height: 2 }];
    const whole = { mime: "x", inits: [], screens: [], interviewers: [], fragments, duration_s: 9, [`${side}s`]: inits };
    const index = ofSide(whole, side);
    assert.deepEqual([index.mime, index.inits, index.duration_s], ["video/mp4; a", inits, 9]);
    assert.deepEqual(index.fragments.map(({ seq, init, keyframe }) => [seq, init, keyframe]),
      [[2, 0, true], [3, 0, false], [4, 1, false]]);
    assert.equal(ofSide({ ...whole, [`${side}s`]: [], fragments: [] }, side).mime, "");
  }
});

test("a screen is shared as long as pictures come at least every ten seconds", () => {
  assert.deepEqual(spansOf(at([3, 4, 14, 30])), [span(3, 15), span(30, 31)]);
  assert.deepEqual(spansOf([]), []);
});

test("news of a recording that runs are joined to what is known", () => {
  const known = { revision: "a", state: "recording", duration_s: 2, fragments: at([0, 1]) };
  const [, second, third] = at([0, 1, 2]);
  const news = { revision: "a", state: "finished", duration_s: 3, fragments: [second, third] };
  assert.deepEqual(grown(known, news), { ...news, fragments: at([0, 1, 2]) });
  assert.equal(grown(known, { ...news, revision: "b" }), null, "what is known holds no more");
});

test("who is near the end of a recording that runs sees it live", () => {
  const index = { state: "recording", duration_s: 60 };
  assert.deepEqual([55, 30].map((time) => liveness(index, time)), ["live", "behind"]);
  assert.equal(liveness({ ...index, state: "finished" }, 59), null);
});

test("a step leads into the middle of the neighbouring picture, however long pictures last", () => {
  const times = [0, 0.1, 0.105, 2];
  const close = (found, wanted) => assert.ok(Math.abs(found - wanted) < 1e-9, `${found}`);
  close(neighbour(times, 0.1, 1), 0.12);
  close(neighbour(times, 0.105, -1), 0.1025);
  close(neighbour(times, 0.105, 1), 2.015);
  close(neighbour(times, 2, -1), 0.12);
  close(neighbour(times, 0.0995, -1), 0.015); // rounded by WebM
  assert.equal(neighbour(times, 2, 1), null);
  assert.equal(neighbour(times, 0, -1), null);
  assert.equal(neighbour([], 0, 1), null);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { FURTHEST_S, LIVE_S, LiveEdge } from "../../web_client/assets/live_edge.js";

/** A video at that position, which plays. */
function video(currentTime) {
  return {
    currentTime,
    paused: false,
    pause() {
      this.paused = true;
    },
    async play() {
      this.paused = false;
    },
  };
}
const growing = (duration_s) => ({ state: "recording", duration_s });

test("who has played all that is known waits for some seconds more, further behind than before", () => {
  const shown = video(20);
  const told = [];
  const edge = new LiveEdge(shown, () => told.push(edge.waiting));
  assert.equal(edge.place(growing(60)), 60 - LIVE_S);
  edge.stalled(growing(20.4));
  assert.deepEqual([edge.waiting, shown.paused], [true, true]);
  edge.grown(growing(20.4 + LIVE_S));
  assert.ok(shown.paused, "not before it is further behind");
  edge.grown(growing(20 + edge.holdS));
  assert.deepEqual([edge.waiting, shown.paused], [false, false]);
  assert.ok(edge.place(growing(60)) < 60 - LIVE_S);
  assert.deepEqual(told, [true, false]);
});

test("however often it stalls, it stays near, and the end of the recording is played at once", () => {
  const shown = video(20);
  const edge = new LiveEdge(shown, () => {});
  for (let stall = 0; stall < 9; stall += 1) {
    edge.stalled(growing(20));
    edge.grown(growing(20 + edge.holdS));
  }
  assert.equal(edge.holdS, FURTHEST_S);
  edge.stalled(growing(20));
  edge.grown({ state: "finished", duration_s: 20.5 });
  assert.equal(shown.paused, false);
});

test("what is paused, is not loaded yet, or grows no more, is not waited for", () => {
  for (const [shown, index] of [
    [{ ...video(20), paused: true }, growing(20)],
    [video(10), growing(20)],
    [video(20), { state: "finished", duration_s: 20 }],
  ]) {
    const edge = new LiveEdge(shown, () => assert.fail());
    edge.stalled(index);
    assert.equal(edge.waiting, false);
  }
});

test("whoever does something else meanwhile is not made to play", () => {
  const shown = video(20);
  const edge = new LiveEdge(shown, () => {});
  edge.stalled(growing(20));
  edge.release();
  edge.grown(growing(40));
  assert.ok(shown.paused);
});

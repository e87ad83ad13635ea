import assert from "node:assert/strict";
import { test } from "node:test";
import { Pictures } from "../../web_client/assets/pictures.js";

/** A place of a frame, as far as its pictures see it. */
function place() {
  const swap = { focused: 0, focus: () => (swap.focused += 1) };
  const video = new EventTarget();
  video.videoWidth = 0;
  return { swap, video, dataset: {}, hidden: false, querySelector: (wanted) => ({ video, ".swap": swap })[wanted] };
}

function frame(...names) {
  const places = Object.fromEntries(names.map((name) => [name, place()]));
  const pictures = new Pictures(places);
  const where = () =>
    Object.fromEntries(names.filter((name) => !places[name].hidden).map((name) => [name, places[name].dataset.place]));
  return { places, pictures, where };
}

test("a shared screen is large until another is pressed, and large again when it is shared anew", () => {
  const { places, pictures, where } = frame("screen", "camera");
  assert.deepEqual(where(), {});
  pictures.show("camera");
  assert.deepEqual(where(), { camera: "large" });
  pictures.show("camera", "screen");
  assert.deepEqual(where(), { screen: "large", camera: "1" });
  places.camera.swap.onclick();
  assert.deepEqual(where(), { screen: "1", camera: "large" });
  assert.equal(places.screen.swap.focused, 1, "whoever uses a keyboard stays at the buttons");
  pictures.show("screen", "camera");
  assert.deepEqual(where(), { screen: "1", camera: "large" }, "still the same share");
  pictures.show("camera");
  pictures.show("camera", "screen");
  assert.deepEqual(where(), { screen: "large", camera: "1" });
});

test("of three pictures two are small, beside each other", () => {
  const { places, pictures, where } = frame("screen", "camera", "interviewer");
  pictures.show("camera");
  pictures.show("interviewer", "camera");
  assert.deepEqual(where(), { camera: "large", interviewer: "1" }, "the candidate stays large");
  pictures.show("interviewer", "camera", "screen");
  assert.deepEqual(where(), { screen: "large", camera: "1", interviewer: "2" });
  places.interviewer.swap.onclick();
  assert.deepEqual(where(), { screen: "1", camera: "2", interviewer: "large" });
  pictures.show("camera", "screen");
  assert.deepEqual(where(), { screen: "large", camera: "1" }, "what was large has gone");
});

test("an interviewer who comes is large, and the candidate's own picture small", () => {
  const { pictures, where } = frame("interviewer", "self");
  pictures.show("self");
  assert.deepEqual(where(), { self: "large" });
  pictures.show("self", "interviewer");
  assert.deepEqual(where(), { interviewer: "large", self: "1" });
});

test("a place says whether its video has a picture", () => {
  const { places } = frame("interviewer");
  const { video, dataset } = places.interviewer;
  assert.equal(dataset.seen, undefined);
  video.videoWidth = 640;
  video.dispatchEvent(new Event("resize"));
  assert.equal(dataset.seen, "true");
  video.videoWidth = 0;
  video.dispatchEvent(new Event("emptied"));
  assert.equal(dataset.seen, "false");
});

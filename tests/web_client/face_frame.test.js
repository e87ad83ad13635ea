import assert from "node:assert/strict";
import { test } from "node:test";
import { pictureArea } from "../../web_client/assets/face_frame.js";

test("a picture of the element's shape fills it", () => {
  assert.deepEqual(pictureArea(640, 360, 1280, 720), { left: 0, top: 0, width: 640, height: 360 });
});

test("an upright picture in a wide element has bars at its sides", () => {
  assert.deepEqual(pictureArea(640, 360, 720, 1280), { left: 218.75, top: 0, width: 202.5, height: 360 });
});

test("a wide picture in an upright element has bars above and below", () => {
  const area = pictureArea(300, 600, 1280, 720);
  assert.deepEqual([area.left, area.width], [0, 300]);
  assert.equal(area.top * 2 + area.height, 600);
});

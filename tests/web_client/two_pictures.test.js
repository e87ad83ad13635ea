import assert from "node:assert/strict";
import { test } from "node:test";
import { TwoPictures } from "../../web_client/assets/two_pictures.js";

test("a shared screen is large until it is swapped, and large again when it is shared anew", () => {
  const frame = { dataset: {} };
  const button = {};
  const pictures = new TwoPictures(frame, button);
  assert.deepEqual([frame.dataset.large, button.hidden], [undefined, true]);
  pictures.show(true);
  assert.deepEqual([frame.dataset.large, button.hidden], ["screen", false]);
  button.onclick();
  assert.equal(frame.dataset.large, "camera");
  pictures.show(true);
  assert.equal(frame.dataset.large, "camera", "still the same share");
  pictures.show(false);
  assert.deepEqual([frame.dataset.large, button.hidden], [undefined, true]);
  pictures.show(true);
  assert.equal(frame.dataset.large, "screen");
});

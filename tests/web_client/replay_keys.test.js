import assert from "node:assert/strict";
import { test } from "node:test";
import { actOf } from "../../web_client/assets/replay_keys.js";

const press = (key, more = {}) => ({ key, ctrlKey: false, metaKey: false, altKey: false, ...more });
/** An element inside of these. */
const inside = (...selectors) => ({ closest: (asked) => (asked.split(", ").some((one) => selectors.includes(one)) ? {} : null) });

test("keys mean the same wherever the focus is, and in capitals", () => {
  for (const target of [null, inside("button"), inside("#seek")]) {
    assert.equal(actOf(press("k"), target), "play");
    assert.equal(actOf(press("K"), target), "play");
    assert.equal(actOf(press("ArrowLeft"), target), "back");
    assert.equal(actOf(press("?"), target), "help");
  }
  assert.equal(actOf(press("x"), null), null);
});

test("what has the focus keeps the keys that it needs", () => {
  assert.equal(actOf(press(" "), inside("button")), null, "the space bar presses it");
  assert.equal(actOf(press(" "), null), "play");
  assert.equal(actOf(press("ArrowUp"), inside("#volume")), null);
  assert.equal(actOf(press("ArrowUp"), inside("input[type=radio]")), null);
  assert.equal(actOf(press(" "), inside("input[type=checkbox]")), null);
  assert.equal(actOf(press("o"), inside("input[type=text]")), null, "it is being typed");
  assert.equal(actOf(press("m"), inside("select")), null);
  assert.equal(actOf(press("f"), inside("dialog")), null);
});

test("shortcuts of the browser stay the browser's", () => {
  for (const held of ["ctrlKey", "metaKey", "altKey"]) {
    assert.equal(actOf(press("l", { [held]: true }), null), null);
  }
});

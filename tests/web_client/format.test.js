import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, decimal, size } from "../../web_client/assets/format.js";

test("elapsed time has hours only when there are any", () => {
  assert.equal(clock(0), "0:00");
  assert.equal(clock(65.9), "1:05");
  assert.equal(clock(3599.99), "59:59");
  assert.equal(clock(3661), "1:01:01");
});

test("a clock that is a little off shows zero, not less", () => {
  assert.equal(clock(-0.4), "0:00");
});

test("numbers have the decimals asked for, and never a negative zero", () => {
  assert.equal(decimal(1234.56, 1, "en"), "1,234.6");
  assert.equal(decimal(-0.01, 0, "en"), "0");
  assert.equal(decimal(3, 2, "en"), "3.00");
});

test("sizes are in decimal units with three digits at most", () => {
  assert.equal(size(0, "en"), "0 B");
  assert.equal(size(999, "en"), "999 B");
  assert.equal(size(1500, "en"), "1.5 kB");
  assert.equal(size(123_456_789, "en"), "123 MB");
  assert.equal(size(2.5e15, "en"), "2,500 TB");
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { joined } from "../../web_client/assets/viewing_list.js";

const row = (start_s, end_s, more = {}) => ({
  role: "recruiter", link: "a", way: "replay", began_s: 100, last_s: 110, start_s, end_s, ...more,
});

test("rows of one viewing are shown as one", () => {
  assert.deepEqual(joined([row(0, 5), row(4, 20, { began_s: 101, last_s: 130 })]), [row(0, 20, { last_s: 130 })]);
});

test("other seconds, people, ways and hours stay apart", () => {
  const rows = [
    row(0, 5), row(8, 20), row(0, 5, { link: "b" }), row(0, 5, { role: "owner" }), row(0, 5, { way: "hls" }),
    row(0, 5, { began_s: 171, last_s: 180 }),
  ];
  assert.deepEqual(joined(rows), rows);
});

test("each export is told of", () => {
  const rows = [row(0, 5, { way: "export" }), row(0, 5, { way: "export" })];
  assert.deepEqual(joined(rows), rows);
});

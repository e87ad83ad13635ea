import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { KNOWN_ALERTS } from "../../web_client/assets/alerts.js";
import { GROUPS, INDICATORS, INDICATOR_NAMES, isKnown, shown } from "../../web_client/assets/indicators.js";
import { STRINGS } from "../../web_client/assets/strings.js";

const CATALOGUE = readFileSync(new URL("../../docs/indicators.md", import.meta.url), "utf8");
const [indicatorTable, alertTable] = CATALOGUE.split("## Alerts");
const rows = (table) => [...table.matchAll(/^\| `([a-z._-]+)` \| ([^|]*) \|/gm)].map(([, id, cell]) => [id, cell.trim()]);

/** Shown as a count (of faces) and as a drawing (of the frame), so not as charts of their own. */
const NOT_CHARTED = ["face.present", "face.x", "face.y"];

test("every indicator of the catalogue is shown, and none that is not there", () => {
  const documented = rows(indicatorTable).map(([name]) => name);
  assert.ok(documented.length > 15);
  assert.deepEqual(documented.filter((name) => !isKnown(name)), NOT_CHARTED);
  assert.deepEqual(INDICATOR_NAMES.filter((name) => !documented.includes(name)), []);
});

test("what is shown in another unit than it is sent in is converted", () => {
  const sent = new Map(rows(indicatorTable));
  for (const name of INDICATOR_NAMES) {
    const { unit, times } = INDICATORS[name];
    const expected = {
      ratio: ["%", 100],
      "bit/s": ["kbit/s", 0.001],
      "count/min": ["per-minute", undefined],
      count: ["", undefined],
    }[sent.get(name)] ?? [sent.get(name), undefined];
    assert.deepEqual([unit, times], expected, name);
  }
});

test("values are converted, and what could not be measured stays so", () => {
  assert.equal(shown(INDICATORS["network.bitrate"], 1_200_000), 1200);
  assert.equal(shown(INDICATORS["voice.pitch"], 180), 180);
  assert.equal(shown(INDICATORS["voice.pitch"], null), null);
});

test("every indicator has a name, a group and a range that rises", () => {
  for (const name of INDICATOR_NAMES) {
    const { group, range } = INDICATORS[name];
    assert.ok(STRINGS[`indicator.${name}`], name);
    assert.ok(GROUPS.includes(group) && STRINGS[`group.${group}`], name);
    assert.ok(range[0] < range[1], name);
  }
});

test("every alert of the catalogue has its words", () => {
  const documented = rows(alertTable).map(([id]) => id);
  assert.ok(documented.length >= 7);
  for (const id of documented) assert.ok(KNOWN_ALERTS.includes(id), id);
  for (const id of KNOWN_ALERTS) assert.ok(STRINGS[`alert.${id}`], id);
});

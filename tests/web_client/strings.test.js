// The dictionary against the pages: what is said exists in both languages, and is allowed.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { NOTICE_VERSION, STRINGS } from "../../web_client/assets/strings.js";

const CLIENT = fileURLToPath(new URL("../../web_client", import.meta.url)); // Debian 12 has Node 18
const KEYS = Object.keys(STRINGS);

/** Words for feelings and traits, which no page may say, and no code may compute. */
const FORBIDDEN = new RegExp(
  [
    "emotion", "mood", "nervous", "confident", "stress", "anxi", "calm down", "personality", "trait",
    "honest", "decei", "decept", "lying", "micro-?expression", "trustworth", "enthusias", "attentive",
    "情绪", "情感", "紧张", "自信", "焦虑", "压力", "性格", "人格", "诚实", "欺骗", "说谎", "撒谎", "微表情", "热情", "心情", "沮丧", "开心",
  ].join("|"),
  "i",
);

function sources() {
  const assets = readdirSync(join(CLIENT, "assets")).map((name) => join("assets", name));
  return [...readdirSync(CLIENT), ...assets].filter((name) => /\.(html|js|css)$/.test(name));
}

const read = (name) => readFileSync(join(CLIENT, name), "utf8");
const places = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([place]) => place).sort();

/** Keys in the source: whole literals, and templates like `state.${x}` as a prefix and a suffix. */
function uses(name) {
  const text = read(name);
  const html = name.endsWith(".html");
  const literal = html ? /data-i18n(?:-[\w-]+)?="([^"]+)"/g : /"([\w.-]+)"/g;
  const keys = [...text.matchAll(literal)].map(([, key]) => key);
  const templates = html ? [] : [...text.matchAll(/`([\w.-]+\.)\$\{[^}]+\}([\w.-]*)`/g)];
  return { keys, templates: templates.map(([, prefix, suffix]) => ({ prefix, suffix })) };
}

test("every text is there in English and in Chinese, with the same places for values", () => {
  for (const [key, texts] of Object.entries(STRINGS)) {
    assert.equal(texts.length, 2, key);
    const [english, chinese] = texts;
    assert.ok(english.trim() && chinese.trim(), key);
    assert.deepEqual(places(english), places(chinese), key);
  }
});

test("Chinese texts are Chinese and English texts are English", () => {
  const sameInBoth = new Set(["language.other", "join.page", "list.comma"]);
  for (const [key, [english, chinese]] of Object.entries(STRINGS)) {
    if (sameInBoth.has(key)) continue;
    assert.match(chinese, /\p{Script=Han}/u, key);
    assert.doesNotMatch(english, /\p{Script=Han}/u, key);
  }
});

test("every key that a page names exists", () => {
  for (const name of sources().filter((source) => source.endsWith(".html"))) {
    for (const key of uses(name).keys) assert.ok(Object.hasOwn(STRINGS, key), `${name}: ${key}`);
  }
});

test("every text is used somewhere", () => {
  const used = sources().filter((name) => !name.endsWith("strings.js")).map(uses);
  const literal = new Set(used.flatMap(({ keys }) => keys));
  const templates = used.flatMap((use) => use.templates);
  const unused = KEYS.filter(
    (key) =>
      !literal.has(key) &&
      !templates.some(({ prefix, suffix }) => key.startsWith(prefix) && key.endsWith(suffix)),
  );
  assert.deepEqual(unused, []);
});

test("no page text or code names a feeling or a trait", () => {
  for (const name of sources()) {
    assert.equal(FORBIDDEN.exec(read(name))?.[0], undefined, name);
  }
});

test("pages have no inline script or style and load nothing from elsewhere", () => {
  for (const name of sources()) {
    const text = read(name);
    assert.doesNotMatch(text, /<style|\sstyle=|\son\w+="|<script(?![^>]*\ssrc="\/assets\/)/, name);
    const addresses = text.match(/https?:\/\/\w[\w.-]*/g) ?? [];
    assert.deepEqual(addresses.filter((address) => address !== "http://www.w3.org"), [], name);
  }
});

test("every icon that is used is in the sprite, and none is there for nothing", () => {
  const inSprite = [...read("assets/icons.svg").matchAll(/symbol id="([\w-]+)"/g)].map(([, id]) => id);
  const all = sources().map(read).join("\n");
  const used = new Set([...all.matchAll(/icons\.svg#([\w-]+)/g)].map(([, id]) => id));
  for (const [, id] of all.matchAll(/icon\("([\w-]+)"\)|action\("([\w-]+)"/g)) if (id) used.add(id);
  for (const id of used) assert.ok(inSprite.includes(id), id);
  const unused = inSprite.filter((id) => !used.has(id) && !all.includes(`"${id}"`));
  assert.deepEqual(unused, []);
});

test("the notice of each version is the one that the documents pin by its hash", () => {
  const pinned = readFileSync(join(CLIENT, "..", "docs", "evidence.md"), "utf8");
  const shown = KEYS.filter((key) => key.startsWith("notice."));
  for (const [place, language] of ["en", "zh"].entries()) {
    const text = shown.map((key) => STRINGS[key][place]).join("\n");
    const hash = createHash("sha256").update(text).digest("hex");
    const row = `| \`${NOTICE_VERSION}/${language}\` | \`${hash}\` |`;
    assert.ok(pinned.includes(row), `docs/evidence.md has no ${row}: raise NOTICE_VERSION`);
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseLanguage, t } from "../../web_client/assets/i18n.js";

test("the browser's first language that we speak is chosen", () => {
  assert.equal(chooseLanguage(["zh-CN", "en"]), "zh");
  assert.equal(chooseLanguage(["zh-Hant-TW"]), "zh");
  assert.equal(chooseLanguage(["de-DE", "en-GB", "zh"]), "en");
  assert.equal(chooseLanguage(["fr", "ZH"]), "zh");
});

test("a browser with none of our languages gets English", () => {
  assert.equal(chooseLanguage(["fr", "de"]), "en");
  assert.equal(chooseLanguage([]), "en");
});

test("values are put into their places, and what looks like a place in a value stays", () => {
  assert.equal(t("check.camera-n", { n: 2 }, "en"), "Camera 2");
  assert.equal(t("check.camera-n", { n: 2 }, "zh"), "摄像头 2");
  assert.match(t("home.made", { title: "{date}" }, "en"), /“\{date\}” is ready/);
});

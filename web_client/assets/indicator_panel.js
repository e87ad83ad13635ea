// @ts-check
/** The indicators as tiles with charts, in groups. */

import { Chart, animate } from "./chart.js";
import { create } from "./dom.js";
import { decimal } from "./format.js";
import { locale, onLanguage, setText, t } from "./i18n.js";
import { GROUPS, INDICATORS, INDICATOR_NAMES, isKnown, shown } from "./indicators.js";
import { PositionTile } from "./position_tile.js";
import { Series, WINDOW_S } from "./series.js";

/** @typedef {import("./indicators.js").Meaning} Meaning */
/** @typedef {import("./indicators.js").IndicatorName} IndicatorName */
/** @typedef {import("./protocol.js").Indicator} Indicator */

const SHOW_INTERVAL_MS = 200;
const SUMMARY_INTERVAL_MS = 5000;
/** A value older than this is not the current one. */
const STALE_S = 3;

class Tile {
  /** @param {IndicatorName} name */
  constructor(name) {
    /** @type {Meaning} */
    this.meaning = INDICATORS[name];
    this.series = new Series(this.meaning.lasts);
    this.value = create("span", "tile-value", "–");
    this.unit = create("span", "tile-unit");
    this.summary = create("p", "visually-hidden");
    const canvas = create("canvas", "chart");
    canvas.setAttribute("aria-hidden", "true");
    this.chart = new Chart(canvas, this.series, this.meaning.range);
    const label = create("h3");
    setText(label, `indicator.${name}`);
    const head = create("div", "tile-head", label, create("p", "tile-reading", this.value, " ", this.unit));
    this.root = create("div", "tile", head, canvas, this.summary);
  }

  /** @param {Indicator} indicator */
  add(indicator) {
    this.series.add(indicator.end_s, shown(this.meaning, indicator.value));
  }

  /** @param {number} now */
  show(now) {
    const last = this.series.points.at(-1);
    const value = last !== undefined && now - last.at < (this.meaning.lasts ?? STALE_S) ? last.value : null;
    const text = value === null ? "–" : decimal(value, this.meaning.decimals, locale());
    if (this.value.textContent !== text) this.value.textContent = text;
  }

  sayUnit() {
    const { unit } = this.meaning;
    this.unit.textContent = unit === "per-minute" ? t("unit.per-minute") : unit;
  }

  /** @param {number} now */
  summarise(now) {
    const summary = this.series.summary(now - WINDOW_S);
    if (summary === null) {
      setText(this.summary, "chart.nothing");
      return;
    }
    const text = (/** @type {number} */ value) => decimal(value, this.meaning.decimals, locale());
    setText(this.summary, "chart.summary", {
      lowest: text(summary.lowest),
      mean: text(summary.mean),
      highest: text(summary.highest),
      unit: this.unit.textContent ?? "",
    });
  }
}

export class IndicatorPanel {
  /**
   * @param {{main: HTMLElement, side: HTMLElement}} places the connection stands at the side
   * @param {() => number} now the server's clock in Unix seconds
   */
  constructor(places, now) {
    this.now = now;
    /** @type {Map<IndicatorName, Tile>} */
    this.tiles = new Map(INDICATOR_NAMES.map((name) => [name, new Tile(name)]));
    this.position = new PositionTile();
    for (const group of GROUPS) {
      (group === "connection" ? places.side : places.main).append(this.group(group));
    }
    onLanguage(() => this.tiles.forEach((tile) => tile.sayUnit()));
    animate(() => this.charts(), now);
    window.setInterval(() => this.tiles.forEach((tile) => tile.summarise(now())), SUMMARY_INTERVAL_MS);
    window.setInterval(() => this.show(now()), SHOW_INTERVAL_MS);
  }

  /** @param {readonly Indicator[]} values */
  add(values) {
    for (const value of values) {
      if (isKnown(value.name)) this.tiles.get(value.name)?.add(value);
      this.position.add(value);
    }
  }

  /** @param {number} now */
  show(now) {
    for (const tile of this.tiles.values()) tile.show(now);
    this.position.show(now);
  }

  /** @param {import("./indicators.js").Group} group */
  group(group) {
    const title = create("h2");
    setText(title, `group.${group}`);
    const tiles = INDICATOR_NAMES.filter((name) => INDICATORS[name].group === group).map(
      (name) => /** @type {Tile} */ (this.tiles.get(name)).root,
    );
    if (group === "face") tiles.push(this.position.root);
    return create("section", "group", title, create("div", "tiles card", ...tiles));
  }

  *charts() {
    for (const tile of this.tiles.values()) yield tile.chart;
  }
}

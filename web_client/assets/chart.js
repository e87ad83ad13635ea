// @ts-check
/** A small moving line chart on a canvas: sixty seconds, sharp on every screen. */

import { WINDOW_S } from "./series.js";

/** @typedef {import("./series.js").Series} Series */

const REDRAW_INTERVAL_MS = 100;
const LINE_PX = 1.75;
const PADDING_PX = 3;

/**
 * The chart's range: the usual one, grown to what is there.
 * @param {readonly [number, number]} usual
 * @param {{lowest: number, highest: number} | null} seen
 * @returns {[number, number]}
 */
export function rangeOf(usual, seen) {
  if (seen === null) return [usual[0], usual[1]];
  return [Math.min(usual[0], seen.lowest), Math.max(usual[1], seen.highest)];
}

export class Chart {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Series} series values in the shown unit
   * @param {readonly [number, number]} range
   */
  constructor(canvas, series, range) {
    this.canvas = canvas;
    this.series = series;
    this.range = range;
  }

  /** @param {number} now Unix seconds at the right edge */
  draw(now) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const context = this.canvas.getContext("2d");
    if (context === null || width === 0) return;
    this.fitPixels(width, height);
    const scale = window.devicePixelRatio;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const from = now - WINDOW_S;
    const [low, high] = rangeOf(this.range, this.series.summary(from));
    const x = (/** @type {number} */ at) => ((at - from) / WINDOW_S) * width;
    const usable = height - 2 * PADDING_PX;
    const y = (/** @type {number} */ value) => PADDING_PX + (1 - (value - low) / (high - low)) * usable;
    const style = getComputedStyle(this.canvas);
    this.drawGrid(context, style.borderBottomColor, width, height);
    for (const stretch of this.series.stretches(from)) {
      const line = stretch.map((point) => ({ x: x(point.at), y: y(point.value) }));
      drawLine(context, line, style.color, height);
    }
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  fitPixels(width, height) {
    const scale = window.devicePixelRatio;
    const [pixelWidth, pixelHeight] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width === pixelWidth && this.canvas.height === pixelHeight) return;
    this.canvas.width = pixelWidth;
    this.canvas.height = pixelHeight;
  }

  /**
   * A faint line every 15 seconds.
   * @param {CanvasRenderingContext2D} context
   * @param {string} color
   * @param {number} width
   * @param {number} height
   */
  drawGrid(context, color, width, height) {
    context.strokeStyle = color;
    context.lineWidth = 1;
    context.beginPath();
    for (let quarter = 1; quarter < 4; quarter += 1) {
      const x = Math.round((width * quarter) / 4) + 0.5;
      context.moveTo(x, 0);
      context.lineTo(x, height);
    }
    context.stroke();
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{x: number, y: number}[]} line
 * @param {string} color
 * @param {number} height
 */
function drawLine(context, line, color, height) {
  const [first] = line;
  const last = line.at(-1);
  if (first === undefined || last === undefined) return;
  context.beginPath();
  for (const { x, y } of line) context.lineTo(x, y);
  // A single point would draw nothing: give it a width.
  if (line.length === 1) context.lineTo(first.x + LINE_PX, first.y);
  context.strokeStyle = color;
  context.lineWidth = LINE_PX;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(last.x, height);
  context.lineTo(first.x, height);
  context.globalAlpha = 0.12;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}

/**
 * Redraw the charts as time goes on: ten times a second, or once a second for people who
 * asked for less motion. Browsers pause it by themselves while the page is hidden.
 * @param {() => Iterable<Chart>} charts
 * @param {() => number} now
 */
export function animate(charts, now) {
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  let drawnMs = -Infinity;
  const frame = (/** @type {number} */ ms) => {
    if (ms - drawnMs >= (calm.matches ? 1000 : REDRAW_INTERVAL_MS)) {
      drawnMs = ms;
      for (const chart of charts()) chart.draw(now());
    }
    window.requestAnimationFrame(frame);
  };
  window.requestAnimationFrame(frame);
}

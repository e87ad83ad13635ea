// @ts-check
/** Numbers for people: durations, sizes, rates. Pure. */

/**
 * Elapsed time as m:ss or h:mm:ss.
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const s = String(whole % 60).padStart(2, "0");
  const m = Math.floor(whole / 60) % 60;
  const h = Math.floor(whole / 3600);
  return h > 0 ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
}

/**
 * A number with at most this many decimals, in the reader's notation.
 * @param {number} value
 * @param {number} decimals
 * @param {string} locale
 */
export function decimal(value, decimals, locale) {
  const rounded = Number(value.toFixed(decimals)) + 0;
  return rounded.toLocaleString(locale, {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

/**
 * @param {number} bytes
 * @param {string} locale
 */
export function size(bytes, locale) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${decimal(value, unit === 0 || value >= 100 ? 0 : 1, locale)} ${units[unit]}`;
}

/**
 * @param {number} unixSeconds
 * @param {string} locale
 */
export function dateTime(unixSeconds, locale) {
  return new Date(unixSeconds * 1000).toLocaleString(locale, {
    dateStyle: "medium",
    timeStyle: "short",
  });
}

/**
 * @param {number} unixSeconds
 * @param {string} locale
 */
export function timeOfDay(unixSeconds, locale) {
  return new Date(unixSeconds * 1000).toLocaleTimeString(locale, { timeStyle: "short" });
}

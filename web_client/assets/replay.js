// @ts-check
/**
 * Replaying by Media Source Extensions, the planning half: which fragment comes next, where
 * nothing was recorded, what the buffer may forget. Pure; times in seconds since the
 * recording's start.
 *
 * @typedef {{seq: number, start_s: number, duration_s: number, keyframe: boolean, init: number,
 *   screen: number | null, screen_keyframe: boolean, interviewer: number | null,
 *   interviewer_keyframe: boolean}} Fragment
 * @typedef {"screen" | "interviewer"} Side what has a replay of its own beside the candidate's
 * @typedef {{track: string, start_s: number, end_s: number, cause: string, lost: number}} Gap
 * @typedef {{event: string, at_s: number}} ReplayEvent
 * @typedef {{mime: string, width: number, height: number}} Init
 * @typedef {{state: "recording" | "finished" | "interrupted", started_s: number | null, mime: string,
 *   duration_s: number, tracks: string[], inits: Init[], screens: Init[],
 *   interviewers: Init[], fragments: Fragment[], gaps: Gap[], events: ReplayEvent[],
 *   revision: string}} ReplayIndex
 * @typedef {{start_s: number, end_s: number}} Span
 */

/** How much is loaded ahead of the playing position, and kept behind it; */
export const AHEAD_S = 20;
export const BEHIND_S = 20;
/**
 * where loading began only so much, and more by and by, in which it goes so much faster than
 * playing: whoever looks here and there is given little of what they do not see.
 */
export const AHEAD_AT_FIRST_S = 10;
const GAIN = 0.5;
/** The fragments of one request at most, as the server has it, */
export const MOST_AT_ONCE = 8;
/** and so many seconds in it: beyond the position where nothing is there yet, */
const FIRST_S = 1.5;
/** else no more than there is to play while it comes, or these. */
const SOME_S = 3.5;
/** Pauses between fragments shorter than this play through. */
export const HOLE_S = 0.3;
/** A screen or an interviewer of whom nothing comes for longer is not there any more. */
const STILL_S = 10;
/** A seek lands at least this far before a buffered range's end, or it would stall there. */
const EDGE_S = 0.1;
/** The furthest that `nudge` moves. */
const NUDGE_S = 1;

/** @param {Fragment} fragment */
function endOf(fragment) {
  return fragment.start_s + fragment.duration_s;
}

/**
 * The place in the list of the last fragment that starts at or before `time`; 0 if none does.
 * @param {readonly Fragment[]} fragments in order
 * @param {number} time
 */
export function placeAt(fragments, time) {
  let low = 0;
  let high = fragments.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (/** @type {Fragment} */ (fragments[middle]).start_s <= time) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/**
 * Where loading begins for playing from `time`: the last keyframe at or before it, else the first.
 * @param {readonly Fragment[]} fragments
 * @param {number} time
 */
export function entryPlace(fragments, time) {
  let place = placeAt(fragments, time);
  while (place > 0 && !fragments[place]?.keyframe) place -= 1;
  if (fragments[place]?.keyframe) return place;
  const first = fragments.findIndex((fragment) => fragment.keyframe);
  return Math.max(0, first);
}

/**
 * Whether loading on in order from `place` soon reaches `time`.
 * @param {readonly Fragment[]} fragments
 * @param {number} place
 * @param {number} time
 */
export function isComing(fragments, place, time) {
  return place >= entryPlace(fragments, time) && place <= placeAt(fragments, time);
}

/**
 * How many fragments from `place` on should be loaded now, in one request, while playing at `time`.
 * Many at a time, as a request costs the server more than a fragment, but not before it is time, and
 * over a slow network not more than can come before playing needs the first of them.
 * @param {readonly Fragment[]} fragments
 * @param {number} place
 * @param {number} time
 * @param {number} since where loading began
 */
export function wanted(fragments, place, time, since) {
  const first = fragments[place];
  const until = time + Math.min(AHEAD_S, AHEAD_AT_FIRST_S + GAIN * Math.max(0, time - since));
  if (first === undefined || first.start_s >= until) return 0;
  const ahead = first.start_s - time;
  const enough = ahead > 0 ? first.start_s + Math.max(SOME_S, ahead) : time + FIRST_S;
  let last = first;
  let count = 1;
  for (; count < MOST_AT_ONCE && endOf(last) < enough; count += 1) {
    const next = fragments[place + count];
    if (next === undefined || !isOneRequest(first, last, next)) return count;
    last = next;
  }
  return last.start_s < until ? count : 0;
}

/**
 * @param {Fragment} first
 * @param {Fragment} last so far
 * @param {Fragment} next
 */
function isOneRequest(first, last, next) {
  const isNear = next.start_s - endOf(last) <= HOLE_S && next.seq - first.seq < MOST_AT_ONCE;
  return isNear && next.init === first.init;
}

/**
 * The spans in which nothing was recorded.
 * @param {readonly Fragment[]} fragments
 * @returns {Span[]}
 */
export function holes(fragments) {
  /** @type {Span[]} */
  const found = [];
  let end = 0;
  for (const fragment of fragments) {
    if (fragment.start_s - end > HOLE_S) found.push({ start_s: end, end_s: fragment.start_s });
    end = Math.max(end, endOf(fragment));
  }
  return found;
}

/**
 * The own replay of what is beside the candidate: the same index, of the fragments that have it.
 * @param {ReplayIndex} index
 * @param {Side} side
 * @returns {ReplayIndex}
 */
export function ofSide(index, side) {
  const inits = side === "screen" ? index.screens : index.interviewers;
  const fragments = index.fragments.flatMap((fragment) => {
    const init = fragment[side];
    return init === null ? [] : [{ ...fragment, init, keyframe: fragment[`${side}_keyframe`] }];
  });
  return { ...index, mime: inits[0]?.mime ?? "", inits, fragments };
}

/**
 * The spans in which it was there.
 * @param {readonly Fragment[]} fragments of `ofSide`
 * @returns {Span[]}
 */
export function spansOf(fragments) {
  /** @type {Span[]} */
  const found = [];
  for (const fragment of fragments) {
    const last = found.at(-1);
    if (last && fragment.start_s - last.end_s <= STILL_S) last.end_s = endOf(fragment);
    else found.push({ start_s: fragment.start_s, end_s: endOf(fragment) });
  }
  return found;
}

/**
 * Where playback goes on when `time` lies in a hole, or so near before it that it stalls.
 * @param {readonly Span[]} spans of `holes`
 * @param {number} time
 * @returns {Span | null}
 */
export function holeAt(spans, time) {
  return spans.find((span) => time >= span.start_s - EDGE_S && time < span.end_s) ?? null;
}

/**
 * Whether a seek to `time` needs no loading.
 * @param {readonly Span[]} buffered
 * @param {number} time
 */
export function isBuffered(buffered, time) {
  return buffered.some((span) => time >= span.start_s && time < span.end_s - EDGE_S);
}

/**
 * Where playback goes on when it stalls just before a buffered range: tracks rarely begin at
 * the very same instant, and a range begins where all of them have something. What is not
 * loaded yet is waited for.
 * @param {readonly Span[]} buffered
 * @param {readonly Fragment[]} fragments
 * @param {number} time
 * @returns {number | null}
 */
export function nudge(buffered, fragments, time) {
  const next = buffered.find((span) => span.start_s > time && span.start_s - time < NUDGE_S);
  const fragment = fragments[placeAt(fragments, time)];
  if (!next || !fragment || isBuffered(buffered, time)) return null;
  const middle = fragment.start_s + fragment.duration_s / 2;
  const loaded = buffered.some((span) => span.start_s <= middle && middle < span.end_s);
  return loaded ? next.start_s + 0.001 : null;
}

/**
 * What the buffer forgets, to stay bounded however long the recording is. Up to a keyframe: browsers
 * forget on to the next one that is loaded, and that may be none (Media Source Extensions 3.5.9).
 * @param {readonly Span[]} buffered
 * @param {readonly Fragment[]} fragments
 * @param {number} time the playing position
 * @param {number} [behind] seconds to keep behind it
 * @returns {Span[]}
 */
export function forgettable(buffered, fragments, time, behind = BEHIND_S) {
  const entry = fragments[entryPlace(fragments, time - behind)];
  const limit = Math.min(time - behind, (entry?.start_s ?? 0) - ROUNDING_S);
  return buffered
    .filter((span) => span.start_s < limit)
    .map((span) => ({ start_s: span.start_s, end_s: Math.min(span.end_s, limit) }));
}

/** Nearer to the end than this, one sees it live. */
const NEAR_LIVE_S = 8;
/** WebM rounds times to milliseconds. */
const ROUNDING_S = 0.002;
const SHORT_PICTURE_S = 0.03;

/**
 * The index after news of it.
 * @param {ReplayIndex} known
 * @param {ReplayIndex} news of the fragments after those known
 * @returns {ReplayIndex | null} null: what is known does not hold any more, ask for all of it
 */
export function grown(known, news) {
  if (news.revision !== known.revision) return null;
  const last = known.fragments.at(-1)?.seq ?? 0;
  const more = news.fragments.filter(({ seq }) => seq > last);
  return { ...news, fragments: [...known.fragments, ...more] };
}

/**
 * How the position is to the live edge of a recording that still grows.
 * @param {Pick<ReplayIndex, "state" | "duration_s">} index
 * @param {number} time
 * @returns {"live" | "behind" | null} null: it grows no more
 */
export function liveness(index, time) {
  if (index.state !== "recording") return null;
  return index.duration_s - time <= NEAR_LIVE_S ? "live" : "behind";
}

/**
 * Where to seek for the neighbour of the picture that began at `shown`: into its middle, as
 * times are rounded differently everywhere.
 * @param {readonly number[]} times when pictures begin, in order, around `shown`
 * @param {number} shown
 * @param {1 | -1} direction
 * @returns {number | null} null: there is none
 */
export function neighbour(times, shown, direction) {
  const current = times.filter((time) => time <= shown + ROUNDING_S).length - 1;
  const target = times[current + direction];
  if (current < 0 || target === undefined) return null;
  const following = times[current + direction + 1] ?? Infinity;
  return target + Math.min(following - target, SHORT_PICTURE_S) / 2;
}

/** A picture that stands for longer is none. */
const STANDS_S = 3;

/**
 * Whether the candidate's camera showed something at that time.
 * @param {Pick<ReplayIndex, "tracks" | "gaps">} index
 * @param {number} time
 */
export function hasPicture({ tracks, gaps }, time) {
  const off = gaps.some(
    ({ track, start_s, end_s }) => track === "camera" && time >= start_s + STANDS_S && time < end_s,
  );
  return !off && (tracks.length === 0 || tracks.includes("camera"));
}

/** @typedef {Span & {tracks: string[], causes: string[], lost: number}} Interruption */

/** Shorter gaps of single packets are on the timeline, but not worth a line of their own. */
export const LISTED_GAP_S = 0.5;

/**
 * Gaps of all tracks, those that overlap joined: what a person would call one interruption.
 * @param {readonly Gap[]} gaps
 * @returns {Interruption[]}
 */
export function interruptions(gaps) {
  /** @type {Interruption[]} */
  const joined = [];
  for (const gap of [...gaps].sort((a, b) => a.start_s - b.start_s)) {
    const last = joined.at(-1);
    if (last === undefined || gap.start_s > last.end_s) {
      const { start_s, end_s, track, cause, lost } = gap;
      joined.push({ start_s, end_s, tracks: [track], causes: [cause], lost });
      continue;
    }
    last.end_s = Math.max(last.end_s, gap.end_s);
    last.lost += gap.lost;
    if (!last.causes.includes(gap.cause)) last.causes.push(gap.cause);
    if (!last.tracks.includes(gap.track)) last.tracks.push(gap.track);
  }
  return joined;
}

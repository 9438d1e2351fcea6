// Where a tick's time goes: from each of its four stamps to the next, and to this page. No I/O.

/** @import { Trace } from "./client.js" */

/** What ends with each step. */
export const STEPS = /** @type {const} */ (["received", "sequenced", "sent", "arrived"]);

/**
 * The milliseconds of each step; null where a stamp is not known. Clocks that differ may make one negative: that is none.
 * @param {Trace} trace
 * @param {number} arrived in ms since 1970
 */
export function steps({ published, received, sequenced, sent }, arrived) {
  const stamps = [published, received, sequenced, sent].map((stamp) => (stamp ?? Number.NaN) / 1_000);
  if (stamps.some(Number.isNaN)) return null;
  return [...stamps, arrived].slice(1).map((end, index) => Math.max(0, end - stamps[index]));
}

/** @param {number} ms with as many digits as say something */
export const shown = (ms) => (ms < 1_000 ? `${ms.toFixed(ms < 10 ? 2 : 0)} ms` : `${(ms / 1_000).toFixed(1)} s`);

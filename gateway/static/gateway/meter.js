// Messages per second over the last few seconds, by the time that has really passed.
//
// A page that was busy counts late: what came meanwhile waits in the browser, and is counted after the look that was late.
// So a late look and the one behind it are one span of time, that is kept or dropped as a whole.

const WINDOW_MS = 3_000;
const LATE_MS = 1_500;

/** @typedef {{ time: number, count: number, isLate: boolean }} Span `time` in ms */

export class Meter {
  #now;
  #count = 0;
  #lookedAt;
  /** @type {Span[]} */
  #spans = [];

  /** @param {() => number} now a monotonic clock in ms */
  constructor(now = () => performance.now()) {
    this.#now = now;
    this.#lookedAt = now();
  }

  count() {
    this.#count += 1;
  }

  /** The rate; to be called about once a second. */
  look() {
    const now = this.#now();
    this.#add({ time: now - this.#lookedAt, count: this.#count, isLate: now - this.#lookedAt > LATE_MS });
    this.#count = 0;
    this.#lookedAt = now;
    let time = this.#sum("time");
    while (this.#spans.length > 1 && time - this.#spans[0].time >= WINDOW_MS) {
      time -= /** @type {Span} */ (this.#spans.shift()).time;
    }
    return time > 0 ? (this.#sum("count") / time) * 1_000 : 0;
  }

  /** @param {Span} span */
  #add(span) {
    const last = this.#spans.at(-1);
    if (last === undefined || !last.isLate) {
      this.#spans.push(span);
      return;
    }
    last.time += span.time;
    last.count += span.count;
    last.isLate = span.isLate;
  }

  /** @param {"time" | "count"} what */
  #sum(what) {
    return this.#spans.reduce((sum, span) => sum + span[what], 0);
  }
}

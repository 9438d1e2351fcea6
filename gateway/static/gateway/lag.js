// Whether the page itself is behind: it receives faster than it can work off. What shows that is a timer that ran late, a
// receipt for ticks that were left out because the page was slow, and a pong that stood behind much else.

const LATE_MS = 500;
// How long the page counts as behind after the last sign of it.
const SHOWN_MS = 3_000;

export class Lag {
  #now;
  #lookedAt;
  #ms = 0;
  #until = -Infinity;
  #leastPing = Infinity;

  /** @param {() => number} now a monotonic clock in ms */
  constructor(now = () => performance.now()) {
    this.#now = now;
    this.#lookedAt = now();
  }

  /**
   * To be called every so many ms.
   * @param {number} interval
   * @returns {number | null} how far the page was behind lately, in ms, 0 where that is not known; null if it is not behind
   */
  look(interval) {
    const now = this.#now();
    this.#note(now - this.#lookedAt - interval);
    this.#lookedAt = now;
    if (now <= this.#until) return this.#ms;
    this.#ms = 0;
    return null;
  }

  /** Time has passed without a look since the browser gave none: a hidden page's timers are rare. */
  restart() {
    this.#lookedAt = this.#now();
  }

  /** Ticks were left out because the page was slow. */
  skipped() {
    this.#until = this.#now() + SHOWN_MS;
  }

  /** @param {number} ms the round trip of a ping, with what stood before its answer */
  pinged(ms) {
    this.#leastPing = Math.min(this.#leastPing, ms);
    this.#note(ms - this.#leastPing);
  }

  /** @param {number} ms */
  #note(ms) {
    if (ms < LATE_MS) return;
    this.#ms = Math.max(this.#ms, ms);
    this.#until = this.#now() + SHOWN_MS;
  }
}

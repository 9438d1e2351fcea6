// Events between the client and the page. The client reads the socket whatever the page does, so what a busy page has not
// handled waits here, and not where nobody can tell how old it is.
//
// Ticks are handled once per frame: all of them while that takes little of the frame, and of what is left then only the
// newest of each symbol, behind receipts of what was left out. Every other event is handled at once, after the ticks that
// came before it.

/** @import { Event, Tick } from "./client.js" */

// What ticks may take of a frame before the rest is conflated: half of one at 60 a second.
const BUDGET_MS = 8;
const MOST_WAITING = 10_000;
const PACE = 32;

export class Intake {
  #handle;
  #now;
  #request;
  /** @type {Tick[]} */
  #ticks = [];

  /**
   * `handle` takes events in their order. `request` asks for a frame, in which `flush` is to be called.
   * @param {{ handle: (event: Event) => void, request: () => void, now?: () => number }} options
   */
  constructor({ handle, request, now = () => performance.now() }) {
    this.#handle = handle;
    this.#now = now;
    this.#request = request;
  }

  /** @param {Event} event */
  push(event) {
    if (event.type !== "tick") {
      this.flush();
      this.#handle(event);
      return;
    }
    this.#ticks.push(event);
    if (this.#ticks.length >= MOST_WAITING) this.flush();
    else if (this.#ticks.length === 1) this.#request();
  }

  /** Handles what waits. */
  flush() {
    const ticks = this.#ticks;
    if (ticks.length === 0) return;
    this.#ticks = [];
    const deadline = this.#now() + BUDGET_MS;
    let next = 0;
    while (next < ticks.length && (next % PACE > 0 || this.#now() < deadline)) this.#handle(ticks[next++]);
    this.#handleNewest(ticks.slice(next));
  }

  /** @param {Tick[]} ticks */
  #handleNewest(ticks) {
    /** @type {Map<string, { tick: Tick, skipped: number }>} */
    const newest = new Map();
    for (const tick of ticks) {
      const before = newest.get(tick.symbol);
      newest.set(tick.symbol, { tick, skipped: before === undefined ? 0 : before.skipped + 1 });
    }
    for (const [symbol, { tick, skipped }] of newest) {
      if (skipped > 0) this.#handle({ type: "conflated", symbol, skipped, reason: "slow" });
      this.#handle(tick);
    }
  }
}

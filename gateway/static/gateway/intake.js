// Messages between the socket and the page. The browser reads the socket whatever the page does, so what a busy page has
// not handled waits here, and not where nobody can tell how old it is.
//
// Ticks are handled once per frame: all of them while that takes little of the frame, and of what is left then only the
// newest of each symbol, behind a receipt of what was left out. Every other message is handled at once, after the ticks
// that came before it.

/** @import { Message } from "./types.js" */

// What ticks may take of a frame before the rest is conflated: half of one at 60 a second.
const BUDGET_MS = 8;
const MOST_WAITING = 10_000;
const PACE = 32;
// The beginning of a tick as the gateway writes it. A symbol has no characters that JSON escapes.
const TICK = /^\{"type":"tick","symbol":"([^"\\]+)"/;

export class Intake {
  #handle;
  #parse;
  #now;
  #request;
  /** @type {string[]} */
  #ticks = [];

  /**
   * `handle` takes messages in their order. `parse` makes one of a text. `request` asks for a frame, in which `flush` is to
   * be called.
   * @param {{
   *   handle: (message: Message) => void,
   *   parse: (text: string) => unknown,
   *   request: () => void,
   *   now?: () => number,
   * }} options
   */
  constructor({ handle, parse, request, now = () => performance.now() }) {
    this.#handle = handle;
    this.#parse = parse;
    this.#now = now;
    this.#request = request;
  }

  /** @param {string} text of a message */
  push(text) {
    if (!TICK.test(text)) {
      this.flush();
      this.#take(text);
      return;
    }
    this.#ticks.push(text);
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
    while (next < ticks.length && (next % PACE > 0 || this.#now() < deadline)) this.#take(ticks[next++]);
    this.#takeNewest(ticks.slice(next));
  }

  /** @param {string[]} ticks */
  #takeNewest(ticks) {
    /** @type {Map<string, { text: string, skipped: number }>} */
    const newest = new Map();
    for (const text of ticks) {
      const symbol = /** @type {RegExpExecArray} */ (TICK.exec(text))[1];
      const before = newest.get(symbol);
      newest.set(symbol, { text, skipped: before === undefined ? 0 : before.skipped + 1 });
    }
    const behind = [...newest].filter(([, { skipped }]) => skipped > 0);
    if (behind.length > 0) {
      const skipped = Object.fromEntries(behind.map(([symbol, { skipped }]) => [symbol, String(skipped)]));
      this.#handle({ type: "conflated", reason: "slow", skipped });
    }
    for (const { text } of newest.values()) this.#take(text);
  }

  /** @param {string} text */
  #take(text) {
    this.#handle(/** @type {Message} */ (this.#parse(text)));
  }
}

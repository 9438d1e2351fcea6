// What the page knows of one symbol: its newest tick, the first price it saw, and the prices between them.

import { compare, subtract } from "./exact.js";
import { History } from "./history.js";

/** @import { Digits, Tick } from "./types.js" */

export class Quote {
  /** @type {Digits | null} */
  first = null;
  /** @type {Tick | null} */
  tick = null;
  history = new History();
  /** Whether the price may be old, because the gateway or the bus is or was away. */
  stale = false;
  /** Whether there is something that was not painted yet. */
  changed = true;
  #direction = 0;

  /**
   * @param {string} symbol
   * @param {string} name
   * @param {number} rank its place in the order of subscription
   */
  constructor(symbol, name, rank = 0) {
    this.symbol = symbol;
    this.name = name;
    this.rank = rank;
  }

  /**
   * @param {Tick} tick
   * @param {number} time when it was received, in ms
   */
  take(tick, time) {
    this.#direction = this.tick === null ? 0 : compare(tick.price, this.tick.price);
    this.first ??= tick.price;
    this.tick = tick;
    this.changed = true;
    this.history.add(Number(tick.price), time);
  }

  /** @param {string} text */
  matches(text) {
    return `${this.symbol} ${this.name}`.toLowerCase().includes(text.toLowerCase());
  }

  /** 1 or -1 if the last tick moved the price up or down, else 0; also 0 when asked again before the next tick. */
  takeDirection() {
    const direction = this.#direction;
    this.#direction = 0;
    return direction;
  }

  get hasQuote() {
    return this.tick !== null && (this.tick.bid !== null || this.tick.ask !== null);
  }

  /** The price less the first price seen, in exact digits; null before the first tick. */
  get change() {
    return this.tick === null || this.first === null ? null : subtract(this.tick.price, this.first);
  }

  /** The change as a number, which is good enough to sort by. */
  get difference() {
    return this.tick === null ? null : Number(this.tick.price) - Number(this.first);
  }

  /** The change in percent of the first price's size; null where that is zero, and before the first tick. */
  get percent() {
    const base = Math.abs(Number(this.first));
    return base === 0 ? null : (Number(this.change) / base) * 100;
  }
}

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
  #direction = 0;

  /**
   * @param {string} symbol
   * @param {string} name
   */
  constructor(symbol, name) {
    this.symbol = symbol;
    this.name = name;
  }

  /**
   * @param {Tick} tick
   * @param {number} time when it was received, in ms
   */
  take(tick, time) {
    this.#direction = this.tick === null ? 0 : compare(tick.price, this.tick.price);
    this.first ??= tick.price;
    this.tick = tick;
    this.history.add(Number(tick.price), time);
  }

  /** 1 or -1 if the last tick moved the price up or down, else 0; also 0 when asked again before the next tick. */
  takeDirection() {
    const direction = this.#direction;
    this.#direction = 0;
    return direction;
  }

  /** The price less the first price seen, in exact digits; null before the first tick. */
  get change() {
    return this.tick === null || this.first === null ? null : subtract(this.tick.price, this.first);
  }

  /** The change in percent of the first price's size; null where that is zero, and before the first tick. */
  get percent() {
    const base = Math.abs(Number(this.first));
    return base === 0 ? null : (Number(this.change) / base) * 100;
  }
}

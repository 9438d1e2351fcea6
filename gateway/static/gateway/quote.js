// What the page knows of one symbol: its newest tick, the first one it saw, and the way between them.

import { compare, subtract } from "./exact.js";
import { History } from "./history.js";

/**
 * A tick or snapshot as exact.js reads it: a number is the text of its digits.
 *
 * @typedef {Object} Tick
 * @property {string} symbol
 * @property {string} price
 * @property {string} timestamp
 * @property {string} [bid]
 * @property {string} [ask]
 * @property {string} [size]
 * @property {Object<string, string | boolean | null>} [extra]
 * @property {string} seq
 */

export class Quote {
  first = null;
  tick = null;
  history = new History();
  #direction = 0;

  constructor(symbol, name) {
    this.symbol = symbol;
    this.name = name;
  }

  /** Takes a tick, whose numbers are strings of digits, received at `time` (ms). */
  take(tick, time) {
    this.#direction = this.tick === null ? 0 : compare(tick.price, this.tick.price);
    this.first ??= tick.price;
    this.tick = tick;
    this.history.add(Number(tick.price), time);
  }

  /** 1 or -1 if the last tick moved the price and nobody has asked yet, else 0. */
  takeDirection() {
    const direction = this.#direction;
    this.#direction = 0;
    return direction;
  }

  /** The price less the first price seen: exact digits. */
  get change() {
    return subtract(this.tick.price, this.first);
  }

  /** The change in percent of the first price's size; null where that is zero. */
  get percent() {
    const base = Math.abs(Number(this.first));
    return base === 0 ? null : (Number(this.change) / base) * 100;
  }
}

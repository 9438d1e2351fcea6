// What the visitor wants to see: symbols, or all but some, as subscriptions, rows and the address of the page have it.

import { EVERYTHING } from "./client.js";
import { isSymbol } from "./symbols.js";

/** @import { Board } from "./board.js" */
/** @import { Feed } from "./feed.js" */
/** @import { Names } from "./names.js" */
/** @import { Tick } from "./types.js" */

const NOT = "!";

export class Choice {
  #feed;
  #board;
  #names;
  #onChange;
  /**
   * Symbols that were unsubscribed from though "*" still brings them.
   * @type {Set<string>}
   */
  #unwanted = new Set();
  /**
   * What the gateway proposed.
   * @type {string[]}
   */
  #proposed = [];

  /**
   * @param {{ feed: Feed, board: Board, names: Pick<Names, "get"> }} parts
   * @param {() => void} onChange
   */
  constructor({ feed, board, names }, onChange) {
    this.#feed = feed;
    this.#board = board;
    this.#names = names;
    this.#onChange = onChange;
  }

  get everything() {
    return this.#feed.has(EVERYTHING);
  }

  /**
   * The choice as `start` takes it; null where it is what the gateway proposed.
   * @returns {string[] | null}
   */
  get symbols() {
    const { everything } = this;
    const named = this.#board.symbols().filter((symbol) => this.#feed.has(symbol));
    if (!everything && named.length === this.#proposed.length && this.#proposed.every((one) => named.includes(one))) {
      return null;
    }
    const without = everything ? [...this.#unwanted].map((symbol) => NOT + symbol) : [];
    return [...(everything ? [EVERYTHING] : []), ...named, ...without];
  }

  /**
   * Begins with these, in this order.
   * @param {string[] | null} symbols from `symbols` or an address, which may hold anything
   * @param {string[]} proposed
   */
  start(symbols, proposed) {
    this.#proposed = proposed;
    const chosen = symbols ?? proposed;
    const wanted = [...new Set(chosen)].filter((symbol) => isSymbol(symbol));
    for (const symbol of wanted) if (symbol !== EVERYTHING) this.#board.append(symbol, this.#names.get(symbol));
    for (const one of chosen) if (one.startsWith(NOT)) this.#unwanted.add(one.slice(1));
    this.#feed.add(wanted);
    this.#onChange();
  }

  /**
   * Whether ticks of `symbol` belong on the page: those of one that was just unsubscribed from may still be on their way.
   * @param {string} symbol
   */
  covers(symbol) {
    return this.#feed.covers(symbol) && !this.#unwanted.has(symbol);
  }

  /**
   * @param {string} symbol
   * @param {readonly string[]} patterns
   */
  isVisible(symbol, patterns) {
    const matches = (/** @type {string} */ one) =>
      one.endsWith("*") ? symbol.startsWith(one.slice(0, -1)) : one === symbol;
    return this.#feed.covers(symbol) && patterns.some(matches);
  }

  /**
   * @param {Tick} tick
   * @returns {boolean} whether it is of a symbol that is shown
   */
  take(tick) {
    const { symbol } = tick;
    if (!this.covers(symbol)) return false;
    if (!this.#board.has(symbol)) this.#board.append(symbol, this.#names.get(symbol));
    this.#board.take(tick);
    return true;
  }

  /** @param {string[]} symbols */
  add(symbols) {
    const fresh = symbols.filter((symbol) => !this.#feed.has(symbol));
    for (const symbol of fresh) {
      this.#unwanted.delete(symbol);
      if (symbol !== EVERYTHING && !this.#board.has(symbol)) this.#board.prepend(symbol, this.#names.get(symbol));
    }
    if (fresh.length > 0) this.#feed.add(fresh);
    this.#onChange();
  }

  /** @param {string} symbol */
  remove(symbol) {
    if (this.everything) this.#unwanted.add(symbol);
    this.#feed.remove(symbol);
    this.drop([symbol]);
  }

  removeEverything() {
    this.#feed.remove(EVERYTHING);
    this.#unwanted.clear();
    this.drop(this.#board.symbols().filter((symbol) => !this.#feed.has(symbol)));
  }

  /** @param {string[]} symbols which do not come any more */
  drop(symbols) {
    for (const symbol of symbols) this.#board.remove(symbol);
    this.#onChange();
  }
}

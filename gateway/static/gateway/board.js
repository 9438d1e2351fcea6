// All symbols of the table with what is known of them, shown or not, and which of them are shown in which order.

/** @import { Sort } from "./order.js" */
/** @import { Tick } from "./types.js" */

import { isLive, ordered } from "./order.js";
import { Quote } from "./quote.js";

export class Board {
  /** @type {Map<string, Quote>} */
  #quotes = new Map();
  /** @type {Sort | null} */
  #sort = null;
  #filter = "";
  #first = 0;
  #last = 0;
  /** @type {Quote[] | null} */
  #shown = null;
  #onChange;

  /** @param {() => void} onChange is told that there is something to paint */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get size() {
    return this.#quotes.size;
  }

  get sort() {
    return this.#sort;
  }

  get filter() {
    return this.#filter;
  }

  /** @param {string} symbol */
  get(symbol) {
    return this.#quotes.get(symbol);
  }

  /** @param {string} symbol */
  has(symbol) {
    return this.#quotes.has(symbol);
  }

  symbols() {
    return [...this.#quotes.keys()];
  }

  /** The quotes that pass the filter, in their order; the same list until that changes. */
  get shown() {
    if (this.#shown === null) {
      const quotes = [...this.#quotes.values()];
      this.#shown = ordered(this.#filter ? quotes.filter((quote) => quote.matches(this.#filter)) : quotes, this.#sort);
    }
    return this.#shown;
  }

  /**
   * @param {string} symbol
   * @param {string} name
   */
  append(symbol, name) {
    this.#add(new Quote(symbol, name, ++this.#last));
  }

  /**
   * @param {string} symbol
   * @param {string} name
   */
  prepend(symbol, name) {
    this.#add(new Quote(symbol, name, --this.#first));
  }

  /** @param {string} symbol */
  remove(symbol) {
    if (this.#quotes.delete(symbol)) this.#reorder();
  }

  /**
   * Takes a tick. One of a symbol that is not here (any more) is ignored.
   * @param {Tick} tick
   */
  take(tick) {
    const quote = this.#quotes.get(tick.symbol);
    if (quote === undefined) return;
    quote.take(tick, performance.now());
    quote.stale = false;
    this.#onChange();
  }

  /**
   * Marks the price of `symbol` as one that may be old, or as current again.
   * @param {string} symbol
   * @param {boolean} stale
   */
  markStale(symbol, stale) {
    const quote = this.#quotes.get(symbol);
    if (quote === undefined || quote.stale === stale) return;
    quote.stale = stale;
    quote.changed = true;
    this.#onChange();
  }

  /**
   * @param {string} symbol
   * @param {string} name
   */
  rename(symbol, name) {
    const quote = this.#quotes.get(symbol);
    if (quote === undefined || quote.name === name) return;
    quote.name = name;
    quote.changed = true;
    if (this.#filter !== "" || this.#sort?.column === "name") this.#reorder();
    this.#onChange();
  }

  /** @param {Sort | null} sort */
  sortBy(sort) {
    this.#sort = sort;
    this.#reorder();
  }

  /** @param {string} text in the symbol or the name of those to show */
  filterBy(text) {
    this.#filter = text.trim();
    this.#reorder();
  }

  /** Puts those in order whose prices have changed it. */
  resort() {
    if (isLive(this.#sort)) this.#reorder();
  }

  /** @param {Quote} quote */
  #add(quote) {
    this.#quotes.set(quote.symbol, quote);
    this.#reorder();
  }

  #reorder() {
    this.#shown = null;
    this.#onChange();
  }
}

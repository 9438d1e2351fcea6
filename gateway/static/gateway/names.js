// The names of instruments, asked for when they are first wanted: there may be tens of thousands.

import { later } from "./later.js";

/** @import { Instrument } from "./types.js" */

const MOST = 400;
// Of a request's address, in characters.
const LONGEST = 3_000;

export class Names {
  #url;
  #onName;
  /** @type {Map<string, string>} */
  #names = new Map();
  /** @type {Set<string>} */
  #due = new Set();
  #isAsking = false;
  #askSoon = later(() => this.#ask(), 100);

  /**
   * @param {string} url
   * @param {(symbol: string, name: string) => void} onName is told of names that have come
   */
  constructor(url, onName) {
    this.#url = url;
    this.#onName = onName;
  }

  /** @param {Instrument[]} instruments */
  learn(instruments) {
    for (const { symbol, name } of instruments) this.#names.set(symbol, name);
  }

  /**
   * The name, as far as it is known; what is not is asked for.
   * @param {string} symbol
   */
  get(symbol) {
    const name = this.#names.get(symbol);
    if (name !== undefined) return name;
    this.#due.add(symbol);
    this.#askSoon();
    return "";
  }

  /**
   * The symbols, where they are written as the gateway knows them: `aapl` is AAPL, unless there is an aapl too.
   * @param {string[]} symbols
   */
  async known(symbols) {
    const upper = (/** @type {string} */ symbol) => symbol.toUpperCase();
    const doubtful = symbols.filter((symbol) => symbol !== upper(symbol) && !this.#names.get(symbol));
    if (doubtful.length === 0) return symbols;
    const found = await this.#fetch([...doubtful, ...doubtful.map(upper)]);
    this.learn(found);
    const listed = new Set(found.map(({ symbol }) => symbol));
    return symbols.map((symbol) => (!listed.has(symbol) && listed.has(upper(symbol)) ? upper(symbol) : symbol));
  }

  /**
   * Instruments that somebody who typed `text` may mean.
   * @param {string} text
   * @param {AbortSignal} signal
   */
  async like(text, signal) {
    const found = await request(`${this.#url}?like=${encodeURIComponent(text)}`, signal);
    this.learn(found);
    return found;
  }

  async #ask() {
    if (this.#isAsking || this.#due.size === 0) return;
    this.#isAsking = true;
    const symbols = this.#batch();
    const found = await this.#fetch(symbols);
    for (const symbol of symbols) this.#names.set(symbol, "");
    this.learn(found);
    for (const { symbol, name } of found) this.#onName(symbol, name);
    this.#isAsking = false;
    if (this.#due.size > 0) this.#askSoon();
  }

  #batch() {
    const symbols = [];
    let length = 0;
    for (const symbol of this.#due) {
      length += encodeURIComponent(symbol).length + 1;
      if (symbols.length === MOST || length > LONGEST) break;
      symbols.push(symbol);
      this.#due.delete(symbol);
    }
    return symbols;
  }

  /** @param {string[]} symbols */
  #fetch(symbols) {
    return request(`${this.#url}?symbols=${symbols.map(encodeURIComponent).join(",")}`, AbortSignal.timeout(3_000));
  }
}

/**
 * No instruments, where the gateway does not answer: the page does without their names.
 * @param {string} url
 * @param {AbortSignal} signal
 * @returns {Promise<Instrument[]>}
 */
async function request(url, signal) {
  const response = await fetch(url, { signal }).catch(() => null);
  if (!response?.ok) return [];
  const { instruments } = await response.json().catch(() => ({}));
  return instruments ?? [];
}

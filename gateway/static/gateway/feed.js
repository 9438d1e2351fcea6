// The page's connection: a client of the package (client.js), and another one when a visitor tries again where the first
// has ended for good. Symbols that are wanted are asked for, and those that are refused are named.

import { Client, CommandRefused, EVERYTHING } from "./client.js";

/** @import { ClientOptions, Event, FeedStatus, Listenable } from "./client.js" */

const PING_MS = 10_000;
// The first attempt comes within a second.
const BACKOFF = { base: 1 };

/**
 * `onEvent` takes each event, `onStatus` how the connection is, `onChange` the symbol whose price may be stale or current
 * again, or undefined for all. `onRate` takes the rate that the gateway has taken, `onRefused` symbols that do not come,
 * `onPing` the milliseconds that an answer took; it is asked for at once behind what was asked for on a new connection.
 * @typedef {object} FeedHandlers
 * @property {(event: Event) => void} onEvent
 * @property {(status: FeedStatus) => void} onStatus
 * @property {(symbol: Listenable["change"]) => void} onChange
 * @property {(rate: number | null) => void} onRate
 * @property {(symbols: string[], error: CommandRefused) => void} onRefused
 * @property {(ms: number) => void} onPing
 */

export class Feed {
  #url;
  #options;
  #handlers;
  #client;
  /** @type {Set<string>} */
  #wanted = new Set();
  /** @type {number | null} */
  #maxRate = null;

  /**
   * @param {URL} url
   * @param {ClientOptions} options of its clients
   * @param {FeedHandlers} handlers
   */
  constructor(url, options, handlers) {
    this.#url = url;
    this.#options = { refusedFor: Infinity, backoff: BACKOFF, ...options };
    this.#handlers = handlers;
    this.#client = this.#made();
    setInterval(() => this.#ping(), PING_MS);
  }

  open() {
    this.#client.open().catch(() => {}); // its status says so
  }

  /** How many symbols went on without loss, and how many ticks came late for that, so far. */
  get counts() {
    return this.#client.counts;
  }

  /** @param {string} symbol */
  has(symbol) {
    return this.#wanted.has(symbol);
  }

  /**
   * Whether ticks of `symbol` are to be expected.
   * @param {string} symbol
   */
  covers(symbol) {
    return this.#wanted.has(symbol) || this.#wanted.has(EVERYTHING);
  }

  /**
   * Whether the price of `symbol` may be old.
   * @param {string} symbol
   */
  isStale(symbol) {
    return this.#client.latest(symbol)?.isStale ?? !this.#client.status.isLive;
  }

  /** @param {string[]} symbols */
  add(symbols) {
    for (const symbol of symbols) this.#wanted.add(symbol);
    this.#ask(symbols);
  }

  /** @param {string} symbol */
  remove(symbol) {
    if (this.#wanted.delete(symbol)) this.#client.unsubscribe([symbol]).catch(() => {});
  }

  /** @param {readonly string[]} symbols whose subscriptions the gateway has ended */
  ended(symbols) {
    for (const symbol of symbols) this.#wanted.delete(symbol);
  }

  /** @param {number | null} rate from now on at most so many ticks a second and symbol; null: as they come */
  limit(rate) {
    this.#maxRate = rate;
    this.#ask([...this.#wanted]);
  }

  /** Attempts to connect now, though not before the time that the gateway named. */
  retry() {
    if (this.#client.status.state !== "closed") {
      this.#client.retry();
      return;
    }
    this.#client = this.#made();
    this.#ask([...this.#wanted]);
    this.open();
  }

  /** The gateway is back. */
  wake() {
    this.#client.wake();
  }

  #made() {
    const { onEvent, onStatus, onChange } = this.#handlers;
    const client = new Client(this.#url, this.#options);
    client.on("event", onEvent);
    client.on("status", onStatus);
    client.on("change", onChange);
    // Behind the subscriptions, which a connection begins with.
    client.on("connected", () => setTimeout(() => this.#ping()));
    return client;
  }

  async #ping() {
    if (this.#client.isConnected) this.#handlers.onPing(await this.#client.ping());
  }

  /** @param {string[]} symbols */
  async #ask(symbols) {
    if (symbols.length === 0) return;
    try {
      this.#handlers.onRate(await this.#client.subscribe(symbols, { maxRate: this.#maxRate }));
    } catch (error) {
      // Else the client has ended, as its status says.
      if (error instanceof CommandRefused) this.#refused(symbols, error);
    }
  }

  /**
   * A request is carried out for all of its symbols or for none: those that nothing is wrong with are asked for again.
   * @param {string[]} symbols
   * @param {CommandRefused} error
   */
  #refused(symbols, error) {
    const held = this.#client.symbols;
    const lost = error.symbols.filter((symbol) => !held.includes(symbol) && this.#wanted.delete(symbol));
    this.#handlers.onRefused(lost, error);
    this.#ask(symbols.filter((symbol) => this.#wanted.has(symbol) && !error.symbols.includes(symbol)));
  }
}

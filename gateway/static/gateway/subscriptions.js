// Which symbols the page wants, kept across connections: after each welcome they are asked for again, to go on where they
// stopped.

import { Budget } from "./budget.js";
import { Command } from "./command.js";

/** @import { Positions } from "./positions.js" */
/** @import { Acknowledgement, CommandFields, ErrorMessage, Welcome } from "./types.js" */

/** @typedef {CommandFields["action"]} Action */
/** @typedef {{ action: Action, symbols: string[] }} Sent */

// Printable characters and spaces within, no comma, no "*" at the end. The gateway looks more closely (NFC, fillers).
const SYMBOL = /^(?! )(?:[^\p{C}\p{Z},]| ){1,64}(?<![ *])$/u;
const RETRY_MS = 2_000;
const PASSING = new Set(["bus_unavailable", "too_many_commands"]);
// Commands a second, unless the server names a number; and how many of them are left for pings.
const COMMANDS_PER_SECOND = 10;
const SPARE_COMMANDS = 2;

// What an error without an id, say for a ping, is about.
/** @type {Sent} */
const NOTHING = { action: "subscribe", symbols: [] };

/** Stands for every symbol, also those that appear later. */
export const EVERYTHING = "*";

/** @param {string} text */
export const isSymbol = (text) => text === EVERYTHING || SYMBOL.test(text);

export class Subscriptions {
  #send;
  #positions;
  #options;
  /** @type {Set<string>} */
  #wanted = new Set();
  /** @type {Set<string>} */
  #confirmed = new Set();
  /**
   * What has still to be asked for, in as few commands as it takes and no faster than the server allows.
   * @type {Set<string>}
   */
  #due = new Set();
  /** @type {Set<string>} */
  #leaving = new Set();
  /**
   * What was sent and not answered yet, by the command's id.
   * @type {Map<number, Sent>}
   */
  #requests = new Map();
  #lastId = 0;
  /** @type {number | null} */
  #maxRate = null;
  #messageBytes = Infinity;
  /** @type {Budget | null} */
  #budget = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {(command: Command) => boolean} send false if there is no connection to send on
   * @param {Pick<Positions, "since" | "symbols">} positions where to go on
   * @param {Pick<CommandFields, "trace">} [options] of every subscription
   */
  constructor(send, positions, options = {}) {
    this.#options = options;
    this.#send = send;
    this.#positions = positions;
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

  /** Whether all that was asked for has been answered. */
  get settled() {
    return this.#due.size === 0 && this.#requests.size === 0;
  }

  /** @param {string[]} symbols */
  add(symbols) {
    for (const symbol of symbols) {
      this.#wanted.add(symbol);
      this.#leaving.delete(symbol);
    }
    this.ask(symbols);
  }

  /** @param {string} symbol */
  remove(symbol) {
    this.#wanted.delete(symbol);
    this.#confirmed.delete(symbol);
    this.#due.delete(symbol);
    this.#leaving.add(symbol);
    this.#pump();
  }

  /** @param {number | null} rate from now on at most so many ticks a second and symbol; null: as they come */
  limit(rate) {
    this.#maxRate = rate;
    this.ask(this.#wanted);
  }

  /**
   * Asks for symbols (again), each to go on where it stopped.
   * @param {Iterable<string>} symbols
   */
  ask(symbols) {
    for (const symbol of symbols) this.#due.add(symbol);
    this.#pump();
  }

  /** Asks at once for what would be asked for again later. */
  askDue() {
    this.#pump();
  }

  /**
   * A new connection, which has no subscriptions yet.
   * @param {Pick<Welcome, "limits">} welcome
   */
  welcomed({ limits }) {
    this.#messageBytes = Number(limits?.message_bytes ?? Infinity);
    this.#budget = new Budget(Math.max(1, Number(limits?.commands_per_second ?? COMMANDS_PER_SECOND) - SPARE_COMMANDS));
    this.#confirmed.clear();
    this.#requests.clear();
    this.#leaving.clear();
    this.#due = new Set(this.#wanted);
    this.#pump();
  }

  /**
   * Takes an acknowledgement, with the server's full list.
   * @param {Pick<Acknowledgement, "symbols" | "id">} acknowledgement
   */
  acknowledged({ symbols, id }) {
    this.#confirmed = new Set(symbols);
    this.#requests.delete(Number(id));
  }

  /**
   * A request failed. Tries again later if that may help, and not before the server says, else gives up its symbols and returns them; where access to
   * some of them was denied, only these.
   * @param {Pick<ErrorMessage, "id" | "code" | "symbols" | "retry_after">} error
   * @returns {string[]}
   */
  refused({ id, code, symbols: denied, retry_after }) {
    const { action, symbols } = this.#requests.get(Number(id)) ?? NOTHING;
    this.#requests.delete(Number(id));
    if (PASSING.has(code) || retry_after !== undefined) {
      this.#repeat(action, symbols, Math.max(RETRY_MS, 1_000 * Number(retry_after ?? 0)));
      return [];
    }
    const open = symbols.filter((symbol) => this.#wanted.has(symbol) && !this.#confirmed.has(symbol));
    const lost = denied === undefined ? open : open.filter((symbol) => denied.includes(symbol));
    for (const symbol of lost) this.#wanted.delete(symbol);
    if (lost.length > 0 && lost.length < open.length) this.ask(open.filter((symbol) => this.#wanted.has(symbol)));
    return lost;
  }

  /**
   * The gateway has ended subscriptions, which are not asked for again.
   * @param {string[]} symbols
   */
  ended(symbols) {
    for (const symbol of symbols) {
      this.#wanted.delete(symbol);
      this.#confirmed.delete(symbol);
      this.#due.delete(symbol);
    }
  }

  /**
   * @param {Action} action
   * @param {string[]} symbols
   * @param {number} delay in ms
   */
  #repeat(action, symbols, delay) {
    const leaving = action === "unsubscribe";
    for (const symbol of symbols) {
      if (this.#wanted.has(symbol) !== leaving) (leaving ? this.#leaving : this.#due).add(symbol);
    }
    this.#pumpIn(delay);
  }

  /** @param {number} delay in ms */
  #pumpIn(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#pump(), delay);
  }

  // Without a connection nothing is sent: the next welcome asks for everything.
  #pump() {
    while (this.#budget !== null && this.#due.size + this.#leaving.size > 0) {
      if (!this.#budget.spend()) {
        this.#pumpIn(this.#budget.wait);
        return;
      }
      const { symbols, action, command } = this.#next();
      if (!this.#send(command)) return;
      for (const symbol of symbols) this.#pendingFor(action).delete(symbol);
      this.#requests.set(this.#lastId, { action, symbols });
    }
  }

  /** @param {Action} action */
  #pendingFor(action) {
    return action === "unsubscribe" ? this.#leaving : this.#due;
  }

  #next() {
    /** @type {Action} */
    const action = this.#leaving.size > 0 ? "unsubscribe" : "subscribe";
    const rate = this.#maxRate === null ? this.#options : { ...this.#options, max_rate: this.#maxRate };
    const options = action === "subscribe" ? rate : {};
    const command = new Command({ action, ...options, id: ++this.#lastId }, this.#messageBytes);
    if (action === "subscribe") this.#fillSubscribe(command);
    else for (const symbol of this.#leaving) if (!command.add(symbol)) break;
    return { action, command, symbols: command.symbols };
  }

  /**
   * "*" comes last and alone: its command has room for the positions of the symbols that are not subscribed to by name.
   * Those that do not fit begin with a snapshot, and what they missed is a gap.
   * @param {Command} command
   */
  #fillSubscribe(command) {
    const named = [...this.#due].filter((symbol) => symbol !== EVERYTHING);
    for (const symbol of named) if (!command.add(symbol, this.#positions.since(symbol))) return;
    if (named.length > 0) return;
    command.add(EVERYTHING);
    for (const symbol of this.#positions.symbols()) {
      const since = this.#wanted.has(symbol) ? undefined : this.#positions.since(symbol);
      if (since !== undefined && !command.resume(symbol, since)) return;
    }
  }
}

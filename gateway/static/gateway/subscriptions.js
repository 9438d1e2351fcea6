// Which symbols the page wants, whatever the connection does meanwhile: after each welcome they are asked for again, to go
// on where they stopped.

import { Budget } from "./budget.js";
import { Command } from "./command.js";

const SYMBOL = /^[A-Za-z0-9.\-_/=^:+$#]{1,32}$/;
const RETRY_MS = 2_000;
const PASSING = new Set(["bus_unavailable", "too_many_commands"]);
// Commands a second, unless the server names a number, and how many of them are left to pings.
const COMMANDS_PER_SECOND = 10;
const SPARE_COMMANDS = 2;

/** Every symbol, also those to come. */
export const EVERYTHING = "*";

export const isSymbol = (text) => text === EVERYTHING || SYMBOL.test(text);

export class Subscriptions {
  #send;
  #positions;
  #wanted = new Set();
  #confirmed = new Set();
  // What has still to be asked for, in as few commands as it takes and no faster than the server allows.
  #due = new Set();
  #leaving = new Set();
  #requests = new Map();
  #lastId = 0;
  #maxRate = null;
  #messageBytes = Infinity;
  #budget = null;
  #timer = null;

  /** `send(command)` sends a command if there is a connection; `positions` (positions.js) knows where to go on. */
  constructor(send, positions) {
    this.#send = send;
    this.#positions = positions;
  }

  has(symbol) {
    return this.#wanted.has(symbol);
  }

  /** Whether ticks of `symbol` are to be expected. */
  covers(symbol) {
    return this.#wanted.has(symbol) || this.#wanted.has(EVERYTHING);
  }

  /** Whether all that was asked for has been answered. */
  get settled() {
    return this.#due.size === 0 && this.#requests.size === 0;
  }

  add(symbols) {
    for (const symbol of symbols) {
      this.#wanted.add(symbol);
      this.#leaving.delete(symbol);
    }
    this.ask(symbols);
  }

  remove(symbol) {
    this.#wanted.delete(symbol);
    this.#confirmed.delete(symbol);
    this.#due.delete(symbol);
    this.#leaving.add(symbol);
    this.#pump();
  }

  /** At most `rate` ticks a second and symbol from now on; null: as they come. */
  limit(rate) {
    this.#maxRate = rate;
    this.ask(this.#wanted);
  }

  /** Asks for symbols (again), each to go on where it stopped. */
  ask(symbols) {
    for (const symbol of symbols) this.#due.add(symbol);
    this.#pump();
  }

  /** Asks at once for what would be asked for again later. */
  askDue() {
    this.#pump();
  }

  /** A new connection, which has no subscriptions yet. */
  welcomed({ limits }) {
    this.#messageBytes = Number(limits?.message_bytes ?? Infinity);
    this.#budget = new Budget(Math.max(1, Number(limits?.commands_per_second ?? COMMANDS_PER_SECOND) - SPARE_COMMANDS));
    this.#confirmed.clear();
    this.#requests.clear();
    this.#leaving.clear();
    this.#due = new Set(this.#wanted);
    this.#pump();
  }

  /** Takes an acknowledgement, with the server's full list. */
  acknowledged({ symbols, id }) {
    this.#confirmed = new Set(symbols);
    this.#requests.delete(Number(id));
  }

  /** A request failed. Tries again later if that may help, else gives up its symbols and returns them. */
  refused({ id, code }) {
    const { action, symbols } = this.#requests.get(Number(id)) ?? { symbols: [] };
    this.#requests.delete(Number(id));
    if (PASSING.has(code)) {
      this.#repeat(action, symbols);
      return [];
    }
    const lost = symbols.filter((symbol) => this.#wanted.has(symbol) && !this.#confirmed.has(symbol));
    for (const symbol of lost) this.#wanted.delete(symbol);
    return lost;
  }

  #repeat(action, symbols) {
    const leaving = action === "unsubscribe";
    for (const symbol of symbols) {
      if (this.#wanted.has(symbol) !== leaving) (leaving ? this.#leaving : this.#due).add(symbol);
    }
    this.#pumpIn(RETRY_MS);
  }

  #pumpIn(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#pump(), delay);
  }

  // Without a connection nothing is sent: the next welcome asks for everything.
  #pump() {
    while (this.#budget !== null && this.#due.size + this.#leaving.size > 0) {
      if (!this.#budget.spend()) return this.#pumpIn(this.#budget.wait);
      const { symbols, action, command } = this.#next();
      if (!this.#send(command)) return;
      for (const symbol of symbols) this.#pendingFor(action).delete(symbol);
      this.#requests.set(this.#lastId, { action, symbols });
    }
  }

  #pendingFor(action) {
    return action === "unsubscribe" ? this.#leaving : this.#due;
  }

  #next() {
    const action = this.#leaving.size > 0 ? "unsubscribe" : "subscribe";
    const rate = action === "subscribe" && this.#maxRate !== null ? { max_rate: this.#maxRate } : {};
    const command = new Command({ action, ...rate, id: ++this.#lastId }, this.#messageBytes);
    if (action === "subscribe") this.#fillSubscribe(command);
    else for (const symbol of this.#leaving) if (!command.add(symbol)) break;
    return { action, command, symbols: command.symbols };
  }

  // "*" comes last and alone: its room is for the positions of all those that nobody asked for by name. Symbols that find
  // no room begin anew, and what they missed is a gap.
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

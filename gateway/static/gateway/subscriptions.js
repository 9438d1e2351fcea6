// Which symbols the page wants, whatever the connection does meanwhile: after each welcome they are asked for again.

const SYMBOL = /^[A-Za-z0-9.\-_/=^:+$#]{1,32}$/;
// What a request holds beside its symbols, and a symbol beside its characters (quotes and comma).
const ENVELOPE_BYTES = 64;
const SYMBOL_EXTRA_BYTES = 3;
const RETRY_MS = 2_000;
const PASSING = new Set(["bus_unavailable", "too_many_commands"]);

export const isSymbol = (text) => SYMBOL.test(text);

export class Subscriptions {
  #send;
  #wanted = new Set();
  #confirmed = new Set();
  #requests = new Map();
  #lastId = 0;
  #messageBytes = Infinity;
  #retry = null;

  /** `send(command)` sends a command if there is a connection. */
  constructor(send) {
    this.#send = send;
  }

  get size() {
    return this.#wanted.size;
  }

  has(symbol) {
    return this.#wanted.has(symbol);
  }

  add(symbols) {
    for (const symbol of symbols) this.#wanted.add(symbol);
    this.#request("subscribe", symbols);
  }

  remove(symbol) {
    this.#wanted.delete(symbol);
    this.#confirmed.delete(symbol);
    this.#request("unsubscribe", [symbol]);
  }

  /** A new connection, which has no subscriptions yet. */
  welcomed({ limits }) {
    this.#messageBytes = Number(limits?.message_bytes ?? Infinity);
    this.#confirmed.clear();
    this.#requests.clear();
    this.#requestMissing();
  }

  /** Takes an acknowledgement, with the server's full list; returns the symbols it acknowledges. */
  acknowledged({ symbols, id }) {
    this.#confirmed = new Set(symbols);
    return this.#answered(id);
  }

  /** A request failed. Tries again later if that may help, else gives up its symbols and returns them. */
  refused({ id, code }) {
    const symbols = this.#answered(id);
    if (PASSING.has(code)) {
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#requestMissing(), RETRY_MS);
      return [];
    }
    const lost = symbols.filter((symbol) => this.#wanted.has(symbol) && !this.#confirmed.has(symbol));
    for (const symbol of lost) this.#wanted.delete(symbol);
    return lost;
  }

  #answered(id) {
    const symbols = this.#requests.get(Number(id)) ?? [];
    this.#requests.delete(Number(id));
    return symbols;
  }

  #requestMissing() {
    clearTimeout(this.#retry);
    this.#request("subscribe", [...this.#wanted].filter((symbol) => !this.#confirmed.has(symbol)));
  }

  #request(action, symbols) {
    for (const part of this.#parts(symbols)) {
      const id = ++this.#lastId;
      if (this.#send({ action, symbols: part, id }) && action === "subscribe") this.#requests.set(id, part);
    }
  }

  // Requests no longer than the server takes. Symbols are ASCII: a character is a byte.
  *#parts(symbols) {
    let part = [];
    let bytes = ENVELOPE_BYTES;
    for (const symbol of symbols) {
      const more = symbol.length + SYMBOL_EXTRA_BYTES;
      if (part.length > 0 && bytes + more > this.#messageBytes) {
        yield part;
        part = [];
        bytes = ENVELOPE_BYTES;
      }
      part.push(symbol);
      bytes += more;
    }
    if (part.length > 0) yield part;
  }
}

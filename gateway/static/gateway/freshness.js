// Which of the prices in the table may be old. A price is current while the gateway is heard, the gateway hears the bus,
// and the stream's newest tick is the one that is shown.

export class Freshness {
  #table;
  #positions;
  #isHeard = false;
  #hasBus = true;
  // Symbols with a price from an earlier connection, of which this one has not said yet where they are.
  #unconfirmed = new Set();

  constructor(table, positions) {
    this.#table = table;
    this.#positions = positions;
  }

  /** The gateway is heard, or not any more; on the same connection as before. */
  heard(isHeard) {
    this.#isHeard = isHeard;
    this.check();
  }

  /** A new connection, on which nothing was said yet. */
  welcomed() {
    this.#isHeard = true;
    this.#hasBus = true;
  }

  lost() {
    this.#isHeard = false;
    this.#unconfirmed = new Set(this.#table.symbols());
    this.check();
  }

  bus(isConnected) {
    this.#hasBus = isConnected;
    this.check();
  }

  /** The gateway said where these symbols are. */
  confirmed(symbols) {
    for (const symbol of symbols) this.#unconfirmed.delete(symbol);
    this.check(symbols);
  }

  check(symbols = this.#table.symbols()) {
    const isTrusted = this.#isHeard && this.#hasBus;
    for (const symbol of symbols) {
      const isCurrent = isTrusted && !this.#unconfirmed.has(symbol) && this.#positions.holds(symbol);
      this.#table.markStale(symbol, !isCurrent);
    }
  }
}

// Which of the prices in the table may be old. A price is current while the gateway is heard, the gateway hears the bus,
// and the stream's newest tick is the one that is shown.

/** @import { Board } from "./board.js" */
/** @import { Positions } from "./positions.js" */

export class Freshness {
  #board;
  #positions;
  #isHeard = false;
  #hasBus = true;
  /**
   * Symbols of which alone the gateway does not hear from the bus.
   * @type {Set<string>}
   */
  #away = new Set();
  /**
   * Symbols with a price from an earlier connection whose positions this one has not sent yet.
   * @type {Set<string>}
   */
  #unconfirmed = new Set();

  /**
   * @param {Pick<Board, "symbols" | "markStale">} board
   * @param {Pick<Positions, "holds">} positions
   */
  constructor(board, positions) {
    this.#board = board;
    this.#positions = positions;
  }

  /**
   * Whether the gateway is heard, on the same connection as before.
   * @param {boolean} isHeard
   */
  heard(isHeard) {
    this.#isHeard = isHeard;
    this.check();
  }

  /** A new connection, which has sent no positions yet. */
  welcomed() {
    this.#isHeard = true;
    this.#hasBus = true;
    this.#away.clear();
  }

  /** The connection is lost: all prices may be old until the next one confirms them. */
  lost() {
    this.#isHeard = false;
    this.#unconfirmed = new Set(this.#board.symbols());
    this.check();
  }

  /**
   * @param {boolean} isConnected
   * @param {string[]} symbols the ones that are away, where others are not
   */
  bus(isConnected, symbols = []) {
    this.#hasBus = isConnected || symbols.length > 0;
    this.#away = new Set(symbols);
    this.check();
  }

  /**
   * The gateway has sent the positions of these symbols.
   * @param {string[]} symbols
   */
  confirmed(symbols) {
    for (const symbol of symbols) this.#unconfirmed.delete(symbol);
    this.check(symbols);
  }

  /** @param {string[]} symbols the ones to mark */
  check(symbols = this.#board.symbols()) {
    const isTrusted = this.#isHeard && this.#hasBus;
    for (const symbol of symbols) {
      const isHere = isTrusted && !this.#away.has(symbol);
      const isCurrent = isHere && !this.#unconfirmed.has(symbol) && this.#positions.holds(symbol);
      this.#board.markStale(symbol, !isCurrent);
    }
  }
}

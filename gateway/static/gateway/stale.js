// Which of the prices in the table may be old, brought up to date once a frame.

/** @import { Board } from "./board.js" */
/** @import { Feed } from "./feed.js" */

export class Stale {
  #board;
  #feed;
  #request;
  /** @type {Set<string>} */
  #due = new Set();
  #isAllDue = false;

  /**
   * @param {Pick<Board, "symbols" | "markStale">} board
   * @param {Pick<Feed, "isStale">} feed
   * @param {() => void} request asks for a frame, in which `mark` is to be called
   */
  constructor(board, feed, request) {
    this.#board = board;
    this.#feed = feed;
    this.#request = request;
  }

  /** @param {string | undefined} symbol that may be stale or current again; undefined: any */
  changed(symbol) {
    if (symbol === undefined) this.#isAllDue = true;
    else this.#due.add(symbol);
    this.#request();
  }

  mark() {
    const symbols = this.#isAllDue ? this.#board.symbols() : this.#due;
    this.#isAllDue = false;
    this.#due = new Set();
    for (const symbol of symbols) this.#board.markStale(symbol, this.#feed.isStale(symbol));
  }
}

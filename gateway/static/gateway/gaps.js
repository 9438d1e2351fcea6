// Ticks that this page has lost, reported together when many symbols lose some at once.

import { later } from "./later.js";
import { counted, listed, Tally } from "./tally.js";

export class Gaps {
  /** How many gaps there were, each of one symbol. */
  count = 0;
  #lost = new Tally();
  /** @type {Set<string>} */
  #unknown = new Set();
  #report = later(() => this.#tell());
  #onReport;

  /** @param {(texts: string[]) => void} onReport takes a sentence or two about the gaps since the last report */
  constructor(onReport) {
    this.#onReport = onReport;
  }

  /**
   * @param {string} symbol
   * @param {number | null} missed null where the number cannot be known
   */
  add(symbol, missed) {
    this.count += 1;
    if (missed === null) this.#unknown.add(symbol);
    else this.#lost.add(symbol, missed);
    this.#report();
  }

  #tell() {
    const { total, breakdown } = this.#lost;
    const unknown = [...this.#unknown];
    const texts = [];
    if (total > 0) texts.push(`Gap: ${counted(total, "tick")} lost (${breakdown}).`);
    if (unknown.length > 0) {
      texts.push(
        `Gap: ${counted(unknown.length, "symbol")} may have lost ticks, how many is unknown (${listed(unknown)}).`,
      );
    }
    this.#lost = new Tally();
    this.#unknown.clear();
    this.#onReport(texts);
  }
}

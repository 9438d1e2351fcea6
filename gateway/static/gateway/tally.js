// Counts ticks by symbol: those that were skipped, or those that are lost.

const NAMED = 3;

export class Tally {
  /** @type {Map<string, number>} */
  #counts = new Map();
  total = 0;

  /**
   * @param {string} symbol
   * @param {number} count
   */
  add(symbol, count) {
    this.#counts.set(symbol, (this.#counts.get(symbol) ?? 0) + count);
    this.total += count;
  }

  /** The symbols with the highest counts: "AAPL 800, MSFT 300, TSLA 50, 3 more". */
  get breakdown() {
    const most = [...this.#counts].sort((a, b) => b[1] - a[1]);
    return listed(most.map(([symbol, count]) => `${symbol} ${grouped(count)}`));
  }
}

/**
 * The first few of `names` and how many more there are: "AAPL, MSFT, TSLA, 3 more".
 * @param {string[]} names
 */
export function listed(names) {
  const named = names.slice(0, NAMED);
  if (names.length > NAMED) named.push(`${grouped(names.length - NAMED)} more`);
  return named.join(", ");
}

/**
 * A number with a comma between its thousands.
 * @param {number} count
 */
export const grouped = (count) => count.toLocaleString("en");

/**
 * How many of what: "1 tick", "1,204 ticks".
 * @param {number} count
 * @param {string} noun
 */
export const counted = (count, noun) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;

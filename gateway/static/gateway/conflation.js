// Adds up the receipts for ticks that were skipped because this page was behind.

const NAMED = 3;

export class Conflation {
  #skipped = new Map();
  total = 0;

  take(skipped) {
    for (const [symbol, count] of Object.entries(skipped)) {
      this.#skipped.set(symbol, (this.#skipped.get(symbol) ?? 0) + Number(count));
      this.total += Number(count);
    }
  }

  /** The sum and the symbols with most of it: "1,204 (AAPL 800, MSFT 300, TSLA 50, 3 more)". */
  get summary() {
    const most = [...this.#skipped].sort((a, b) => b[1] - a[1]);
    const named = most.slice(0, NAMED).map(([symbol, count]) => `${symbol} ${count.toLocaleString("en")}`);
    if (most.length > NAMED) named.push(`${most.length - NAMED} more`);
    return `${this.total.toLocaleString("en")} (${named.join(", ")})`;
  }
}

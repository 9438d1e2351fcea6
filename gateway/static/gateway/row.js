// One row of the table: the cells of a Quote. Only what changed is written to the document.

import { find } from "./dom.js";
import { Quote } from "./quote.js";
import { Sparkline } from "./sparkline.js";
import { age, clockTime } from "./times.js";

/** @import { Extra } from "./types.js" */

const MINUS = "\u2212";

export class Row {
  /** @type {HTMLTableRowElement} */
  element;
  quote;
  inSight = true;
  /** Whether the price may be old, because the gateway or the bus is or was away. */
  stale = false;
  /** @type {Map<Element, string>} */
  #written = new Map();
  #cells;
  #sparkline;
  #time;
  #clock;
  #age;

  /**
   * @param {HTMLTemplateElement} template
   * @param {string} symbol
   * @param {string} name
   */
  constructor(template, symbol, name) {
    this.quote = new Quote(symbol, name);
    this.element = find(document.importNode(template.content, true), "tr", HTMLTableRowElement);
    this.element.dataset.symbol = symbol;
    this.#cells = cellsOf(this.element);
    this.#time = find(this.#cells.updated, "time", HTMLTimeElement);
    this.#clock = find(this.#time, "span", HTMLElement);
    this.#age = find(this.#time, "small", HTMLElement);
    this.#sparkline = new Sparkline(this.#cells.chart);
    this.#write(this.#cells.symbol, symbol);
    this.#write(this.#cells.name, name);
    this.#cells.symbol.title = symbol;
    this.#cells.name.title = name;
    const button = find(this.#cells.remove, "button", HTMLButtonElement);
    button.setAttribute("aria-label", `Unsubscribe from ${symbol}`);
    button.title = `Unsubscribe from ${symbol}`;
  }

  get hasQuote() {
    const tick = this.quote.tick;
    return tick !== null && (tick.bid !== undefined || tick.ask !== undefined);
  }

  /** @param {string} text */
  matches(text) {
    return `${this.quote.symbol} ${this.quote.name}`.toLowerCase().includes(text.toLowerCase());
  }

  /** Writes the newest tick, if there is one, into the cells. */
  render() {
    const { tick, change, percent } = this.quote;
    if (tick === null || change === null) return;
    const sign = Math.sign(Number(change));
    this.#write(this.#cells.price, tick.price);
    this.#explain(this.#cells.price, tick.extra);
    this.#write(this.#cells.bid, tick.bid ?? "");
    this.#write(this.#cells.ask, tick.ask ?? "");
    this.#write(this.#cells.change, signed(change, sign));
    this.#write(this.#cells.percent, percent === null ? "" : `${signed(percent.toFixed(2), sign)}%`);
    this.#mark("trend", sign > 0 ? "up" : sign < 0 ? "down" : "flat");
    this.element.toggleAttribute("data-stale", this.stale);
    if (this.#time.dateTime !== tick.timestamp) this.#time.dateTime = this.#time.title = tick.timestamp;
    this.renderTime();
  }

  renderTime() {
    if (this.quote.tick === null) return;
    const time = Date.parse(this.quote.tick.timestamp);
    this.#write(this.#clock, clockTime(time));
    this.#write(this.#age, this.stale ? "stale" : age(time));
  }

  renderChart() {
    this.#sparkline.draw(this.quote.history);
  }

  /** Lights the price up or down; returns whether there was a move to show. */
  flash() {
    const direction = this.quote.takeDirection();
    if (direction !== 0) this.#mark("flash", direction > 0 ? "up" : "down");
    return direction !== 0;
  }

  fade() {
    delete this.element.dataset.flash;
  }

  /**
   * @param {"trend" | "flash"} name
   * @param {string} value
   */
  #mark(name, value) {
    if (this.element.dataset[name] !== value) this.element.dataset[name] = value;
  }

  /**
   * Shows what the publisher sent beyond the usual fields when the pointer rests on the price.
   * @param {HTMLElement} node
   * @param {Extra | undefined} extra
   */
  #explain(node, extra) {
    const lines = Object.entries(extra ?? {}).map(([name, value]) => `${name}: ${value}`);
    const text = lines.join("\n");
    if (node.title !== text) node.title = text;
  }

  /**
   * @param {Element} node
   * @param {string} text
   */
  #write(node, text) {
    if (this.#written.get(node) === text) return;
    this.#written.set(node, text);
    node.textContent = text;
  }
}

/** @param {HTMLTableRowElement} row */
function cellsOf(row) {
  const cell = (/** @type {string} */ name) => find(row, `[data-cell="${name}"]`, HTMLTableCellElement);
  return {
    symbol: cell("symbol"),
    name: cell("name"),
    price: cell("price"),
    change: cell("change"),
    percent: cell("percent"),
    chart: cell("chart"),
    bid: cell("bid"),
    ask: cell("ask"),
    updated: cell("updated"),
    remove: cell("remove"),
  };
}

/**
 * @param {string} digits
 * @param {number} sign
 */
function signed(digits, sign) {
  const size = digits.replace("-", "");
  return sign > 0 ? `+${size}` : sign < 0 ? MINUS + size : size;
}

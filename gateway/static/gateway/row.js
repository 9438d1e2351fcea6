// One row of the table, which shows one quote after another. Only what changed is written to the document.

import { find } from "./dom.js";
import { Sparkline } from "./sparkline.js";
import { age, clockTime } from "./times.js";

/** @import { Quote } from "./quote.js" */
/** @import { Extra } from "./types.js" */

const MINUS = "\u2212";
// From here on a price gets a line of its own where the screen is narrow.
const LONG = 16;
const DASH = "\u2013";

export class Row {
  /** @type {HTMLTableRowElement} */
  element;
  /** @type {Quote} */
  quote;
  #index = -1;
  /** @type {Map<Element, string>} */
  #written = new Map();
  #cells;
  #button;
  #sparkline;
  #time;
  #clock;
  #age;

  /**
   * @param {HTMLTemplateElement} template
   * @param {Quote} quote
   */
  constructor(template, quote) {
    this.element = find(document.importNode(template.content, true), "tr", HTMLTableRowElement);
    this.#cells = cellsOf(this.element);
    this.#button = find(this.#cells.remove, "button", HTMLButtonElement);
    this.#time = find(this.#cells.updated, "time", HTMLTimeElement);
    this.#clock = find(this.#time, "span", HTMLElement);
    this.#age = find(this.#time, "small", HTMLElement);
    this.#sparkline = new Sparkline(this.#cells.chart);
    this.quote = quote;
    this.show(quote);
  }

  /**
   * Shows this quote from now on.
   * @param {Quote} quote
   */
  show(quote) {
    this.quote = quote;
    const { symbol } = quote;
    const { dataset } = this.element;
    dataset.symbol = symbol;
    delete dataset.trend;
    delete dataset.flash;
    delete dataset.long;
    this.element.removeAttribute("data-stale");
    this.element.classList.remove("revealed");
    this.#write(this.#cells.symbol, symbol);
    this.#cells.symbol.title = symbol;
    this.#button.ariaLabel = this.#button.title = `Unsubscribe from ${symbol}`;
    quote.takeDirection();
    this.#clear();
    this.render();
    this.renderChart();
  }

  /**
   * Puts it where the row of this number is.
   * @param {number} index from 0
   * @param {number} height of a row, in px
   */
  place(index, height) {
    this.element.style.transform = `translateY(${index * height}px)`;
    if (this.#index === index) return;
    this.#index = index;
    // The head is the first row.
    this.element.ariaRowIndex = `${index + 2}`;
  }

  /** @param {boolean} isCurrent whether it is the one that the keyboard reaches */
  mark(isCurrent) {
    this.element.tabIndex = this.#button.tabIndex = isCurrent ? 0 : -1;
  }

  /** Writes what is known into the cells. */
  render() {
    const { tick, change, percent, name, stale } = this.quote;
    this.quote.changed = false;
    this.#write(this.#cells.name, name);
    if (this.#cells.name.title !== name) this.#cells.name.title = name;
    if (tick === null || change === null) return;
    const sign = Math.sign(Number(change));
    this.#write(this.#cells.price, tick.price);
    this.element.toggleAttribute("data-long", tick.price.length > LONG);
    this.#explain(this.#cells.price, tick.extra);
    this.#write(this.#cells.bid, tick.bid ?? "");
    this.#write(this.#cells.ask, tick.ask ?? "");
    this.#write(this.#cells.change, signed(change, sign));
    this.#write(this.#cells.percent, percent === null ? "" : `${signed(percent.toFixed(2), sign)}%`);
    this.#mark("trend", sign > 0 ? "up" : sign < 0 ? "down" : "flat");
    this.element.toggleAttribute("data-stale", stale);
    if (this.#time.dateTime !== tick.timestamp) this.#time.dateTime = this.#time.title = tick.timestamp;
    this.renderTime();
  }

  renderTime() {
    const { tick, stale } = this.quote;
    if (tick === null) return;
    const time = Date.parse(tick.timestamp);
    this.#write(this.#clock, clockTime(time));
    this.#write(this.#age, stale ? "stale" : age(time));
  }

  renderChart() {
    if (this.quote.tick !== null) this.#sparkline.draw(this.quote.history);
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
   * How many characters the longest of the cells of each kind has.
   * @param {"price" | "change" | "percent" | "bid" | "ask" | "symbol"} name
   */
  length(name) {
    return this.#written.get(this.#cells[name])?.length ?? 0;
  }

  // What no tick has written yet.
  #clear() {
    const { change, percent, bid, ask, price } = this.#cells;
    for (const cell of [change, percent, bid, ask, this.#clock, this.#age]) this.#write(cell, "");
    this.#write(price, DASH);
    if (price.title !== "") price.title = "";
    this.#time.removeAttribute("datetime");
    this.#time.title = "";
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

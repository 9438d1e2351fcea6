// One row of the table, which shows one quote after another. Only what changed is written to the document.

import { find } from "./dom.js";
import { Sparkline } from "./sparkline.js";
import { age, clockTime } from "./times.js";
import { Words } from "./words.js";

/** @import { Quote } from "./quote.js" */
/** @import { Extra, Tick } from "./types.js" */

// How often a row's chart and age are made again.
const REFRESH_MS = 250;

const MINUS = "\u2212";
// From here on a price, or its change, is so long that the price gets a line of its own where the screen is narrow.
const LONG = 16;
const LONG_CHANGE = 10;
const DASH = "\u2013";

export class Row {
  /** @type {HTMLTableRowElement} */
  element;
  /** @type {Quote} */
  quote;
  #index = -1;
  #height = 0;
  /** @type {boolean | null} */
  #isCurrent = null;
  #cells;
  #texts;
  #button;
  #sparkline;
  #time;
  #clock;
  #age;
  #refreshedAt = 0;
  /** @type {Tick | null} */
  #drawn = null;

  /**
   * @param {HTMLTemplateElement} template
   * @param {Quote} quote
   */
  constructor(template, quote) {
    this.element = find(document.importNode(template.content, true), "tr", HTMLTableRowElement);
    this.#cells = cellsOf(this.element);
    this.#button = find(this.#cells.remove, "button", HTMLButtonElement);
    this.#time = find(this.#cells.updated, "time", HTMLTimeElement);
    this.#clock = new Words(find(this.#time, "span", HTMLElement));
    this.#age = new Words(find(this.#time, "small", HTMLElement));
    this.#texts = textsOf(this.#cells);
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
    delete dataset.flash;
    this.element.classList.remove("revealed");
    this.#texts.symbol.text = symbol;
    this.#cells.symbol.title = symbol;
    this.#button.ariaLabel = this.#button.title = `Unsubscribe from ${symbol}`;
    quote.takeDirection();
    if (quote.tick === null) this.#clear();
    this.render();
    this.#drawn = null;
    this.refresh(performance.now());
  }

  /**
   * Puts it where the row of this number is.
   * @param {number} index from 0
   * @param {number} height of a row, in px
   */
  place(index, height) {
    if (this.#index === index && this.#height === height) return;
    this.#index = index;
    this.#height = height;
    this.element.style.transform = `translateY(${index * height}px)`;
    // The head is the first row.
    this.element.ariaRowIndex = `${index + 2}`;
  }

  /** @param {boolean} isCurrent whether it is the one that the keyboard reaches */
  mark(isCurrent) {
    if (this.#isCurrent === isCurrent) return;
    this.#isCurrent = isCurrent;
    this.element.tabIndex = this.#button.tabIndex = isCurrent ? 0 : -1;
  }

  /** Writes what is known into the cells. */
  render() {
    const { tick, change, percent, name, stale } = this.quote;
    this.quote.changed = false;
    this.#texts.name.text = name;
    if (this.#cells.name.title !== name) this.#cells.name.title = name;
    if (tick === null || change === null) return;
    const sign = Math.sign(Number(change));
    this.#texts.price.text = tick.price;
    this.element.toggleAttribute("data-long", tick.price.length > LONG || change.length > LONG_CHANGE);
    this.#explain(this.#cells.price, tick.extra);
    this.#texts.bid.text = tick.bid ?? "";
    this.#texts.ask.text = tick.ask ?? "";
    this.#texts.change.text = signed(change, sign);
    this.#texts.percent.text = percent === null ? "" : `${signed(percent.toFixed(2), sign)}%`;
    this.#mark("trend", sign > 0 ? "up" : sign < 0 ? "down" : "flat");
    this.element.toggleAttribute("data-stale", stale);
    if (this.#time.dateTime !== tick.timestamp) this.#time.dateTime = this.#time.title = tick.timestamp;
    this.#renderTime(tick, stale);
  }

  /**
   * Makes what changes with time alone, and the chart; false if that was done just before.
   * @param {number} now
   */
  refresh(now) {
    const { tick, stale, history } = this.quote;
    if (tick === null || (now - this.#refreshedAt < REFRESH_MS && this.#drawn !== null)) return false;
    this.#refreshedAt = now;
    this.#renderTime(tick, stale);
    if (tick !== this.#drawn) this.#sparkline.draw(history);
    this.#drawn = tick;
    return true;
  }

  /**
   * @param {Tick} tick
   * @param {boolean} stale
   */
  #renderTime(tick, stale) {
    const time = Date.parse(tick.timestamp);
    this.#clock.text = clockTime(time);
    this.#age.text = stale ? "stale" : age(time);
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
    return this.#texts[name].text.length;
  }

  // What no tick has written yet.
  #clear() {
    const { change, percent, bid, ask, price } = this.#texts;
    for (const words of [change, percent, bid, ask, this.#clock, this.#age]) words.text = "";
    price.text = DASH;
    this.#explain(this.#cells.price, null);
    this.#time.removeAttribute("datetime");
    this.#time.title = "";
    delete this.element.dataset.trend;
    delete this.element.dataset.long;
    this.element.removeAttribute("data-stale");
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
   * @param {Extra | null} extra
   */
  #explain(node, extra) {
    const lines = Object.entries(extra ?? {}).map(([name, value]) => `${name}: ${value}`);
    const text = lines.join("\n");
    if (node.title !== text) node.title = text;
  }
}

/** @param {ReturnType<typeof cellsOf>} cells */
function textsOf({ symbol, name, price, change, percent, bid, ask }) {
  return {
    symbol: new Words(symbol),
    name: new Words(name),
    price: new Words(price),
    change: new Words(change),
    percent: new Words(percent),
    bid: new Words(bid),
    ask: new Words(ask),
  };
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

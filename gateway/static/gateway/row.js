// One line of the table: the cells of a Quote. Only what changed is written to the document.

import { Quote } from "./quote.js";
import { Sparkline } from "./sparkline.js";
import { age, clockTime } from "./times.js";

const MINUS = "\u2212";

export class Row {
  element;
  quote;
  inSight = true;
  /** Whether the price may be old, because the gateway, or the bus behind it, is or was away. */
  stale = false;
  #cells = {};
  #written = new Map();
  #sparkline;
  #time;
  #clock;
  #age;

  constructor(template, symbol, name) {
    this.quote = new Quote(symbol, name);
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.symbol = symbol;
    for (const cell of this.element.children) this.#cells[cell.dataset.cell] = cell;
    this.#time = this.#cells.updated.querySelector("time");
    [this.#clock, this.#age] = this.#time.children;
    this.#sparkline = new Sparkline(this.#cells.chart);
    this.#write(this.#cells.symbol, symbol);
    this.#write(this.#cells.name, name);
    this.#cells.symbol.title = symbol;
    this.#cells.name.title = name;
    this.button.setAttribute("aria-label", `Unsubscribe from ${symbol}`);
    this.button.title = `Unsubscribe from ${symbol}`;
  }

  get button() {
    return this.#cells.remove.firstElementChild;
  }

  get hasQuote() {
    const tick = this.quote.tick;
    return tick !== null && (tick.bid !== undefined || tick.ask !== undefined);
  }

  matches(text) {
    return `${this.quote.symbol} ${this.quote.name}`.toLowerCase().includes(text.toLowerCase());
  }

  /** Writes the newest tick, if there is one, into the cells. */
  render() {
    if (this.quote.tick === null) return;
    const { tick, change, percent } = this.quote;
    const sign = Math.sign(Number(change));
    this.#write(this.#cells.price, tick.price);
    this.#explain(this.#cells.price, tick.extra);
    this.#write(this.#cells.bid, tick.bid ?? "");
    this.#write(this.#cells.ask, tick.ask ?? "");
    this.#write(this.#cells.change, signed(change, sign));
    this.#write(this.#cells.percent, percent === null ? "" : `${signed(percent.toFixed(2), sign)}%`);
    this.#mark("trend", ["down", "flat", "up"][sign + 1]);
    this.element.toggleAttribute("data-stale", this.stale);
    if (this.#time.dateTime !== tick.timestamp) this.#time.dateTime = this.#time.title = tick.timestamp;
    this.renderTime();
  }

  renderTime() {
    if (this.quote.tick === null) return;
    const date = Date.parse(this.quote.tick.timestamp);
    this.#write(this.#clock, clockTime(date));
    this.#write(this.#age, this.stale ? "stale" : age(date));
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

  #mark(name, value) {
    if (this.element.dataset[name] !== value) this.element.dataset[name] = value;
  }

  // What the publisher said beyond the usual fields shows when the pointer rests on the price.
  #explain(node, extra) {
    const text = Object.entries(extra ?? {}).map(([name, value]) => `${name}: ${value}`).join("\n");
    if (node.title !== text) node.title = text;
  }

  #write(node, text) {
    if (this.#written.get(node) === text) return;
    this.#written.set(node, text);
    node.textContent = text;
  }
}

function signed(digits, sign) {
  const size = digits.replace("-", "");
  return sign > 0 ? `+${size}` : sign < 0 ? MINUS + size : size;
}

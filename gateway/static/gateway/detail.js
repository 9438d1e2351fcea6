// One symbol close up, below the table: its chart, its quote, its newest ticks.

import { Chart } from "./chart.js";
import { find } from "./dom.js";
import { age, clockTime } from "./times.js";

/** @import { Board } from "./board.js" */
/** @import { Digits, Tick } from "./types.js" */

const MOST = 30;
const CHART_MS = 250;
const DASH = "\u2013";

export class Detail {
  #section;
  #board;
  #onChange;
  #chart;
  #list;
  #symbol = "";
  /** @type {Tick[]} */
  #ticks = [];
  #isDue = false;
  #drawnAt = 0;
  /** @type {Element | null} */
  #from = null;

  /**
   * @param {HTMLElement} section
   * @param {Board} board
   * @param {() => void} onChange is told that another symbol is open, or none
   */
  constructor(section, board, onChange) {
    this.#section = section;
    this.#board = board;
    this.#onChange = onChange;
    this.#chart = new Chart(find(section, ".plot", HTMLElement));
    this.#list = find(section, "ol", HTMLElement);
    find(section, "button", HTMLElement).addEventListener("click", () => this.close());
    section.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  /** The symbol that is open, or "". */
  get symbol() {
    return this.#symbol;
  }

  /** @param {string} symbol "" closes */
  open(symbol) {
    if (symbol === this.#symbol) return;
    if (this.#symbol === "") this.#from = document.activeElement;
    this.#symbol = symbol;
    this.#section.hidden = symbol === "";
    this.#section.ariaLabel = `Chart of ${symbol}`;
    this.#chart.clear();
    this.#drawnAt = 0;
    const tick = this.#board.get(symbol)?.tick;
    this.#ticks = tick ? [tick] : [];
    this.#isDue = true;
    this.#onChange();
  }

  /** Gives the focus back to where it was when the symbol was opened. */
  close() {
    this.open("");
    if (this.#from instanceof HTMLElement && this.#from.isConnected) this.#from.focus({ preventScroll: true });
  }

  focus() {
    find(this.#section, "button", HTMLElement).focus({ preventScroll: true });
  }

  /** @param {Tick} tick */
  take(tick) {
    if (tick.symbol !== this.#symbol) return;
    this.#ticks.unshift(tick);
    this.#ticks.length = Math.min(this.#ticks.length, MOST);
    this.#isDue = true;
  }

  /** Brings the document up to date, a few times a second. */
  paint() {
    const now = performance.now();
    if (this.#symbol === "" || document.hidden || now - this.#drawnAt < CHART_MS) return;
    this.#drawnAt = now;
    const quote = this.#board.get(this.#symbol);
    const tick = quote?.tick;
    this.#write("symbol", this.#symbol);
    this.#write("name", quote?.name ?? "");
    this.#write("age", tick ? age(Date.parse(tick.timestamp)) : DASH);
    if (!this.#isDue || !quote) return;
    this.#isDue = false;
    this.#write("price", tick?.price ?? DASH);
    this.#write("bid", tick?.bid ?? DASH);
    this.#write("ask", tick?.ask ?? DASH);
    this.#list.replaceChildren(...this.#ticks.map(line));
    if (tick) this.#chart.draw(quote.history);
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  #write(name, text) {
    const element = find(this.#section, `[data-of="${name}"]`, HTMLElement);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** @param {Tick} tick */
function line({ timestamp, price, size, seq }) {
  const item = document.createElement("li");
  const parts = /** @type {[string, Digits][]} */ ([
    ["time", clockTime(Date.parse(timestamp))],
    ["price", price],
    ["size", size ?? ""],
    ["seq", `#${seq}`],
  ]);
  for (const [name, text] of parts) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    item.append(part);
  }
  return item;
}

// The table as it is painted: of a board of any size only the rows that can be seen are in the document, and they are
// written to at most once a frame. So a burst of thousands costs one write per cell in sight that differs in the end.
//
// A frame has time for so much only: rows that it has no time for are written to in the next one, and charts take turns.
// Where the order changes rows stay where they are and show other symbols, as moving a row costs more than its texts do.

/** @import { Board } from "./board.js" */
/** @import { Quote } from "./quote.js" */

import { find } from "./dom.js";
import { goal, next } from "./keys.js";
import { Row } from "./row.js";
import { Turns } from "./turns.js";
import { Viewport } from "./viewport.js";

const FLASH_MS = 150;
const REFRESH_MS = 250;
// What rows may take of a frame: layout and painting take twice as long again.
const BUDGET_MS = 5;
// How many charts are drawn in one.
const CHARTS = 4;
// Columns that are as wide as the longest text in them, so that no digit is ever cut.
const WIDE = /** @type {const} */ (["symbol", "price", "change", "percent", "bid", "ask"]);

/**
 * `onRemove` is told of a row whose button was pressed, `onCount` of the numbers of rows when they change, `request` asks
 * for a frame.
 * @typedef {object} TableCallbacks
 * @property {(symbol: string) => void} onRemove
 * @property {(symbol: string, byKey: boolean) => void} onOpen is told of a row that was chosen
 * @property {(shown: number, all: number) => void} onCount
 * @property {() => void} request
 */

export class Table {
  #table;
  #body;
  #template;
  #board;
  #callbacks;
  #viewport;
  /**
   * What is in the document, in its order.
   * @type {Map<Quote, Row>}
   */
  #rows = new Map();
  /** @type {Quote[] | null} */
  #arranged = null;
  #isMoved = true;
  #height = 0;
  /** @type {Set<Row>} */
  #lit = new Set();
  /** @type {ReturnType<typeof setTimeout> | null} */
  #fading = null;
  #written = new Turns();
  #refreshed = new Turns();
  #counted = "";
  /** @type {Map<string, number>} */
  #lengths = new Map();
  /** @type {Quote | null} */
  #current = null;

  /**
   * @param {HTMLTableElement} table
   * @param {HTMLTemplateElement} template of a row
   * @param {Board} board
   * @param {TableCallbacks} callbacks
   */
  constructor(table, template, board, callbacks) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#template = template;
    this.#board = board;
    this.#callbacks = callbacks;
    const scroller = /** @type {HTMLElement} */ (table.parentElement);
    this.#viewport = new Viewport(scroller, this.#body, /** @type {HTMLElement} */ (table.tHead), () => this.#move());
    window.addEventListener("resize", () => {
      this.#height = 0;
    });
    document.addEventListener("visibilitychange", () => this.#move());
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#body.addEventListener("keydown", (event) => this.#pressed(event));
    this.#body.addEventListener("focusin", (event) => this.#focused(event));
    setInterval(() => callbacks.request(), REFRESH_MS);
  }

  /** Whether somebody is about to use a row, which should then stay where it is. */
  get isInUse() {
    return this.#body.matches(":hover, :focus-within");
  }

  /** Brings the document up to date; does nothing while nobody can see it. */
  paint() {
    if (document.hidden) return;
    const { shown } = this.#board;
    if (shown !== this.#arranged || this.#isMoved) this.#arrange(shown);
    const rows = [...this.#rows.values()];
    const now = performance.now();
    const isDone = this.#renderChanged(rows, now + BUDGET_MS);
    const isFresh = this.#refresh(rows, now);
    if (!isDone || !isFresh) this.#callbacks.request();
    this.#fadeLater();
    this.#count(shown.length);
  }

  /**
   * Scrolls to a row and highlights it.
   * @param {string} symbol
   */
  reveal(symbol) {
    const quote = this.#board.get(symbol);
    if (quote === undefined) return;
    this.#show(quote);
    const element = this.#rows.get(quote)?.element;
    element?.classList.remove("revealed");
    requestAnimationFrame(() => element?.classList.add("revealed"));
  }

  #move() {
    this.#isMoved = true;
    this.#callbacks.request();
  }

  /** @param {Quote[]} shown */
  #arrange(shown) {
    const before = this.#arranged;
    this.#arranged = shown;
    this.#isMoved = false;
    const height = this.#rowHeight(shown);
    const total = `${shown.length * height}px`;
    if (this.#body.style.height !== total) this.#body.style.height = total;
    const [first, last] = this.#viewport.rows(height, shown.length);
    const indices = shown.slice(first, last).map((_, index) => first + index);
    const focused = this.#focusedQuote();
    const pinned = focused === null ? -1 : shown.indexOf(focused);
    if (pinned >= 0 && pinned < first) indices.unshift(pinned);
    else if (pinned >= last) indices.push(pinned);
    const successor = focused !== null && pinned < 0 ? next(shown, before, focused) : undefined;
    const quotes = indices.map((index) => shown[index]);
    if (shown === before) this.#replace(quotes);
    else this.#reassign(quotes, focused);
    for (const index of indices) this.#rows.get(shown[index])?.place(index, height);
    this.#markCurrent();
    if (successor !== undefined) this.#focus(successor);
  }

  /**
   * Has the rows, which stay where they are, show these quotes from the first on.
   * @param {Quote[]} quotes
   * @param {Quote | null} focused
   */
  #reassign(quotes, focused) {
    const before = [...this.#rows.values()];
    const onButton = document.activeElement instanceof HTMLButtonElement;
    for (const row of before.splice(quotes.length)) this.#remove(row);
    const rows = quotes.map((quote, index) => this.#showIn(before[index], quote));
    this.#rows = new Map(rows.map((row) => [row.quote, row]));
    this.#body.append(...rows.slice(before.length).map(({ element }) => element));
    const row = focused === null ? undefined : this.#rows.get(focused);
    if (row === undefined || row.element.contains(document.activeElement)) return;
    (onButton ? find(row.element, "button", HTMLButtonElement) : row.element).focus({ preventScroll: true });
  }

  /**
   * @param {Row | undefined} row
   * @param {Quote} quote
   */
  #showIn(row, quote) {
    if (row === undefined) return new Row(this.#template, quote);
    if (row.quote !== quote) {
      this.#lit.delete(row);
      row.show(quote);
    }
    return row;
  }

  /** @param {Row} row */
  #remove(row) {
    row.element.remove();
    this.#lit.delete(row);
  }

  /**
   * Puts rows of these quotes into the document, and no others: rows that went out of sight show those that came.
   * @param {Quote[]} quotes
   */
  #replace(quotes) {
    const wanted = new Set(quotes);
    const free = [...this.#rows].filter(([quote]) => !wanted.has(quote)).map(([, row]) => row);
    const active = document.activeElement;
    const rows = quotes.map((quote) => this.#rows.get(quote) ?? this.#rowOf(quote, free));
    for (const row of free) this.#remove(row);
    this.#rows = new Map(rows.map((row) => [row.quote, row]));
    let at = this.#body.firstElementChild;
    for (const { element } of rows) {
      if (element === at) at = at.nextElementSibling;
      else this.#body.insertBefore(element, at);
    }
    // An element that is moved loses the focus.
    if (active instanceof HTMLElement && active !== document.activeElement && this.#body.contains(active)) {
      active.focus({ preventScroll: true });
    }
  }

  /**
   * @param {Quote} quote
   * @param {Row[]} free
   */
  #rowOf(quote, free) {
    const row = free.pop();
    row?.element.remove();
    return this.#showIn(row, quote);
  }

  /** @param {Quote[]} shown */
  #rowHeight(shown) {
    if (this.#height > 0) return this.#height;
    if (this.#rows.size === 0 && shown.length > 0) this.#replace(shown.slice(0, 1));
    const [row] = this.#rows.values();
    this.#height = row?.element.offsetHeight ?? 0;
    return this.#height || 1;
  }

  /**
   * Writes what changed, in turn; false if there was no time for all.
   * @param {Row[]} rows
   * @param {number} deadline
   */
  #renderChanged(rows, deadline) {
    return this.#written.take(rows, (row) => {
      if (!row.quote.changed) return true;
      this.#render(row);
      return performance.now() < deadline;
    });
  }

  /**
   * Draws charts, in turn; false if there are more to draw.
   * @param {Row[]} rows
   * @param {number} now
   */
  #refresh(rows, now) {
    let drawn = 0;
    return this.#refreshed.take(rows, (row) => {
      if (row.refresh(now)) drawn += 1;
      return drawn < CHARTS;
    });
  }

  /** @param {Row} row */
  #render(row) {
    row.render();
    if (row.flash()) this.#lit.add(row);
    if (row.quote.hasQuote) this.#table.classList.add("has-quotes");
    for (const name of WIDE) {
      const length = row.length(name);
      if (length <= (this.#lengths.get(name) ?? 0)) continue;
      this.#lengths.set(name, length);
      this.#table.style.setProperty(`--${name}-length`, `${length}`);
    }
  }

  #fadeLater() {
    if (this.#lit.size === 0 || this.#fading !== null) return;
    this.#fading = setTimeout(() => {
      this.#fading = null;
      for (const row of this.#lit) row.fade();
      this.#lit.clear();
    }, FLASH_MS);
  }

  /** @param {number} shown */
  #count(shown) {
    const counted = `${shown} ${this.#board.size}`;
    if (counted === this.#counted) return;
    this.#counted = counted;
    this.#table.ariaRowCount = `${shown + 1}`;
    this.#callbacks.onCount(shown, this.#board.size);
  }

  // One row is reached with Tab, and the others from there with the arrows.

  #markCurrent() {
    if (this.#current === null || !this.#rows.has(this.#current))
      this.#current = this.#rows.keys().next().value ?? null;
    for (const [quote, row] of this.#rows) row.mark(quote === this.#current);
  }

  /** @param {Quote} quote */
  #show(quote) {
    const index = this.#board.shown.indexOf(quote);
    if (index < 0) return;
    if (this.#arranged !== this.#board.shown) this.#arrange(this.#board.shown);
    this.#viewport.reveal(index, this.#height);
    this.#arrange(this.#board.shown);
  }

  /** @param {Quote} quote */
  #focus(quote) {
    this.#current = quote;
    this.#show(quote);
    this.#markCurrent();
    this.#rows.get(quote)?.element.focus({ preventScroll: true });
  }

  #focusedQuote() {
    const active = document.activeElement;
    return this.#body.contains(active) ? this.#quoteAt(active) : null;
  }

  /** @param {EventTarget | null} target */
  #quoteAt(target) {
    const element = target instanceof Element ? target.closest("tr") : null;
    for (const [quote, row] of this.#rows) if (row.element === element) return quote;
    return null;
  }

  /** @param {FocusEvent} event */
  #focused(event) {
    const quote = this.#quoteAt(event.target);
    if (quote === null || quote === this.#current) return;
    this.#current = quote;
    this.#markCurrent();
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    const quote = this.#quoteAt(event.target);
    if (quote === null) return;
    if (button !== null) this.#callbacks.onRemove(quote.symbol);
    else this.#callbacks.onOpen(quote.symbol, false);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const quote = this.#quoteAt(event.target);
    if (quote === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const { shown } = this.#board;
    const to = goal(event.key, shown.indexOf(quote), this.#viewport.page(this.#height), shown.length);
    if (to !== null) this.#focus(shown[to]);
    else if (event.key === "Enter" && event.target instanceof HTMLTableRowElement)
      this.#callbacks.onOpen(quote.symbol, true);
    else if (event.key === "Delete") this.#callbacks.onRemove(quote.symbol);
    else return;
    event.preventDefault();
  }
}

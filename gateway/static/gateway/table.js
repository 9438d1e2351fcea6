// The table of symbols. Ticks change the quotes at once and the document at most once per animation frame, so a burst of
// thousands costs one write per cell that differs in the end. Rows out of sight are written once a second.

/** @import { Tick } from "./types.js" */

import { Row } from "./row.js";

const FLASH_MS = 150;
const CHART_MS = 250;
const UNSEEN_MS = 1_000;

export class Table {
  #table;
  #body;
  #template;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {Set<Row>} */
  #changed = new Set();
  /** @type {Set<Row>} */
  #chartsDue = new Set();
  /** @type {Set<Row>} */
  #lit = new Set();
  /** @type {ReturnType<typeof setTimeout> | null} */
  #fading = null;
  /** @type {number | null} */
  #frame = null;
  #observer = new IntersectionObserver((entries) => this.#sighted(entries));
  #filter = "";
  #shown = 0;
  #onCount;

  /**
   * `onRemove` is told of a row whose button was pressed, `onCount` of the number of rows when it changes.
   * @param {HTMLTableElement} table
   * @param {HTMLTemplateElement} template of a row
   * @param {{ onRemove: (symbol: string) => void, onCount: (shown: number, all: number) => void }} callbacks
   */
  constructor(table, template, { onRemove, onCount }) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#template = template;
    this.#onCount = onCount;
    this.#body.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("button") : null;
      const symbol = button?.closest("tr")?.dataset.symbol;
      if (symbol !== undefined) onRemove(symbol);
    });
    setInterval(() => this.#drawCharts(), CHART_MS);
    setInterval(() => this.#renderUnseen(), UNSEEN_MS);
  }

  /** @param {string} symbol */
  get(symbol) {
    return this.#rows.get(symbol)?.quote;
  }

  /** @param {string} symbol */
  has(symbol) {
    return this.#rows.has(symbol);
  }

  symbols() {
    return [...this.#rows.keys()];
  }

  /**
   * @param {string} symbol
   * @param {string} name
   */
  append(symbol, name) {
    this.#body.append(this.#newRow(symbol, name).element);
  }

  /**
   * @param {string} symbol
   * @param {string} name
   */
  prepend(symbol, name) {
    this.#body.prepend(this.#newRow(symbol, name).element);
  }

  /**
   * Scrolls to a row and highlights it.
   * @param {string} symbol
   */
  reveal(symbol) {
    const element = this.#rows.get(symbol)?.element;
    if (element === undefined) return;
    element.scrollIntoView({ block: "nearest" });
    element.classList.remove("revealed");
    requestAnimationFrame(() => element.classList.add("revealed"));
  }

  /** @param {string} symbol */
  remove(symbol) {
    const row = this.#rows.get(symbol);
    if (row === undefined) return;
    // The focus moves on to the next row's button, or else the previous one's.
    if (row.element.contains(document.activeElement)) {
      (row.element.nextElementSibling ?? row.element.previousElementSibling)?.querySelector("button")?.focus();
    }
    this.#observer.unobserve(row.element);
    row.element.remove();
    this.#rows.delete(symbol);
    for (const due of [this.#changed, this.#chartsDue, this.#lit]) due.delete(row);
    this.#count(row.element.hidden ? 0 : -1);
  }

  /**
   * Takes a tick. One of a symbol that has no row (any more) is ignored.
   * @param {Tick} tick
   */
  take(tick) {
    const row = this.#rows.get(tick.symbol);
    if (row === undefined) return;
    row.quote.take(tick, performance.now());
    row.stale = false;
    this.#chartsDue.add(row);
    this.#change(row);
  }

  /**
   * Marks the price of `symbol` as one that may be old, or as current again.
   * @param {string} symbol
   * @param {boolean} stale
   */
  markStale(symbol, stale) {
    const row = this.#rows.get(symbol);
    if (row === undefined || row.stale === stale) return;
    row.stale = stale;
    this.#change(row);
  }

  /** @param {string} text in the symbol or the name of the rows to show */
  filter(text) {
    this.#filter = text.trim();
    this.#shown = 0;
    for (const row of this.#rows.values()) {
      row.element.hidden = !row.matches(this.#filter);
      if (!row.element.hidden) this.#shown += 1;
    }
    this.#count(0);
  }

  /** @param {Row} row */
  #change(row) {
    this.#changed.add(row);
    if (row.inSight) this.#renderSoon();
  }

  /**
   * @param {string} symbol
   * @param {string} name
   */
  #newRow(symbol, name) {
    const row = new Row(this.#template, symbol, name);
    row.element.hidden = !row.matches(this.#filter);
    this.#rows.set(symbol, row);
    this.#observer.observe(row.element);
    this.#count(row.element.hidden ? 0 : 1);
    return row;
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #sighted(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = this.#rows.get(/** @type {HTMLElement} */ (target).dataset.symbol ?? "");
      if (row === undefined) continue;
      row.inSight = isIntersecting;
      if (isIntersecting) row.renderTime();
    }
    this.#renderSoon();
  }

  #renderSoon() {
    this.#frame ??= requestAnimationFrame(() => this.#renderSeen());
  }

  #renderSeen() {
    this.#frame = null;
    const lit = [];
    for (const row of this.#changed) {
      if (!row.inSight) continue;
      this.#render(row);
      if (row.flash()) lit.push(row);
    }
    this.#fadeLater(lit);
  }

  #renderUnseen() {
    if (document.hidden) return;
    for (const row of this.#changed) this.#render(row);
    for (const row of this.#rows.values()) if (row.inSight) row.renderTime();
  }

  /** @param {Row} row */
  #render(row) {
    row.render();
    this.#changed.delete(row);
    if (row.hasQuote) this.#table.classList.add("has-quotes");
  }

  /** @param {Row[]} rows */
  #fadeLater(rows) {
    for (const row of rows) this.#lit.add(row);
    if (this.#lit.size === 0 || this.#fading) return;
    this.#fading = setTimeout(() => {
      this.#fading = null;
      for (const row of this.#lit) row.fade();
      this.#lit.clear();
    }, FLASH_MS);
  }

  #drawCharts() {
    if (document.hidden) return;
    for (const row of this.#chartsDue) {
      if (!row.inSight) continue;
      row.renderChart();
      this.#chartsDue.delete(row);
    }
  }

  /** @param {number} change of the number of rows that pass the filter */
  #count(change) {
    this.#shown += change;
    this.#onCount(this.#shown, this.#rows.size);
  }
}

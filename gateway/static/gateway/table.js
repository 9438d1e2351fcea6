// The table of symbols. Ticks change the quotes at once and the document at most once per animation frame, so a burst of
// thousands costs one write per cell that differs in the end. Rows scrolled out of sight follow once a second.

import { Row } from "./row.js";

const FLASH_MS = 150;
const CHART_MS = 250;
const UNSEEN_MS = 1_000;

export class Table {
  #table;
  #body;
  #template;
  #rows = new Map();
  #changed = new Set();
  #chartsDue = new Set();
  #lit = new Set();
  #fading = null;
  #frame = null;
  #observer = new IntersectionObserver((entries) => this.#sighted(entries));
  #filter = "";
  #shown = 0;
  #onCount;

  /** `onRemove(symbol)`: somebody pressed a row's button. `onCount(shown, all)`: rows came or went. */
  constructor(table, template, { onRemove, onCount }) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#template = template;
    this.#onCount = onCount;
    this.#body.addEventListener("click", (event) => {
      const row = event.target.closest("button")?.closest("tr");
      if (row) onRemove(row.dataset.symbol);
    });
    setInterval(() => this.#drawCharts(), CHART_MS);
    setInterval(() => this.#renderUnseen(), UNSEEN_MS);
  }

  get(symbol) {
    return this.#rows.get(symbol)?.quote;
  }

  has(symbol) {
    return this.#rows.has(symbol);
  }

  symbols() {
    return [...this.#rows.keys()];
  }

  append(symbol, name) {
    this.#body.append(this.#newRow(symbol, name).element);
  }

  prepend(symbol, name) {
    this.#body.prepend(this.#newRow(symbol, name).element);
  }

  /** Shows where a row is. */
  reveal(symbol) {
    const element = this.#rows.get(symbol)?.element;
    if (element === undefined) return;
    element.scrollIntoView({ block: "nearest" });
    element.classList.remove("revealed");
    requestAnimationFrame(() => element.classList.add("revealed"));
  }

  remove(symbol) {
    const row = this.#rows.get(symbol);
    if (row === undefined) return;
    // The keyboard's place is kept: on the next row's button, or the one before.
    if (row.element.contains(document.activeElement)) {
      (row.element.nextElementSibling ?? row.element.previousElementSibling)?.querySelector("button").focus();
    }
    this.#observer.unobserve(row.element);
    row.element.remove();
    this.#rows.delete(symbol);
    for (const due of [this.#changed, this.#chartsDue, this.#lit]) due.delete(row);
    this.#count(row.element.hidden ? 0 : -1);
  }

  /** Takes a tick; nothing for a symbol that has no row (any more). */
  take(tick) {
    const row = this.#rows.get(tick.symbol);
    if (row === undefined) return;
    row.quote.take(tick, performance.now());
    row.stale = false;
    this.#chartsDue.add(row);
    this.#change(row);
  }

  /** Marks the price of `symbol` as one that may be old, or as the newest after all. */
  markStale(symbol, stale) {
    const row = this.#rows.get(symbol);
    if (row === undefined || row.stale === stale) return;
    row.stale = stale;
    this.#change(row);
  }

  filter(text) {
    this.#filter = text.trim();
    this.#shown = 0;
    for (const row of this.#rows.values()) {
      row.element.hidden = !row.matches(this.#filter);
      if (!row.element.hidden) this.#shown += 1;
    }
    this.#count(0);
  }

  #change(row) {
    this.#changed.add(row);
    if (row.inSight) this.#renderSoon();
  }

  #newRow(symbol, name) {
    const row = new Row(this.#template, symbol, name);
    row.element.hidden = !row.matches(this.#filter);
    this.#rows.set(symbol, row);
    this.#observer.observe(row.element);
    this.#count(row.element.hidden ? 0 : 1);
    return row;
  }

  #sighted(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = this.#rows.get(target.dataset.symbol);
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

  #render(row) {
    row.render();
    this.#changed.delete(row);
    if (row.hasQuote) this.#table.classList.add("has-quotes");
  }

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

  #count(change) {
    this.#shown += change;
    this.#onCount(this.#shown, this.#rows.size);
  }
}

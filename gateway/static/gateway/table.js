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

  append(symbol, name) {
    this.#body.append(this.#newRow(symbol, name).element);
    this.#count();
  }

  prepend(symbol, name) {
    this.#body.prepend(this.#newRow(symbol, name).element);
    this.#count();
  }

  /** Shows where a row is. */
  reveal(symbol) {
    const { element } = this.#rows.get(symbol);
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
    this.#count();
  }

  /** Takes a tick; nothing for a symbol that has no row (any more). */
  take(tick) {
    const row = this.#rows.get(tick.symbol);
    if (row === undefined) return;
    row.quote.take(tick, performance.now());
    this.#changed.add(row);
    this.#chartsDue.add(row);
    if (row.inSight) this.#renderSoon();
  }

  filter(text) {
    this.#filter = text.trim();
    for (const row of this.#rows.values()) row.element.hidden = !row.matches(this.#filter);
    this.#count();
  }

  #newRow(symbol, name) {
    const row = new Row(this.#template, symbol, name);
    row.element.hidden = !row.matches(this.#filter);
    this.#rows.set(symbol, row);
    this.#observer.observe(row.element);
    return row;
  }

  #sighted(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = this.#rows.get(target.dataset.symbol);
      if (row !== undefined) row.inSight = isIntersecting;
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
    for (const row of this.#rows.values()) row.renderTime();
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

  #count() {
    const shown = [...this.#rows.values()].filter((row) => !row.element.hidden).length;
    this.#onCount(shown, this.#rows.size);
  }
}

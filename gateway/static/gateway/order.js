// In which order the table shows its symbols: as they were subscribed to, the last first, or by a column.

/** @import { Quote } from "./quote.js" */

/** @typedef {{ column: string, descending: boolean }} Sort */

/** @type {Record<string, (quote: Quote) => string | number | null>} */
const VALUES = {
  symbol: (quote) => quote.symbol,
  name: (quote) => quote.name.toLowerCase() || null,
  price: ({ tick }) => number(tick?.price),
  change: (quote) => quote.difference,
  percent: (quote) => quote.percent,
  bid: ({ tick }) => number(tick?.bid),
  ask: ({ tick }) => number(tick?.ask),
  updated: ({ tick }) => (tick === null ? null : Date.parse(tick.timestamp)),
};
const TEXTS = new Set(["symbol", "name"]);

/** @param {string} column */
export const isSortable = (column) => Object.hasOwn(VALUES, column);

/**
 * Whether ticks change the order.
 * @param {Sort | null} sort
 */
export const isLive = (sort) => sort !== null && !TEXTS.has(sort.column);

/**
 * What a press on a column's head makes of the sort: up and down, and then as it was; numbers begin with the highest.
 * @param {Sort | null} sort
 * @param {string} column
 * @returns {Sort | null}
 */
export function pressed(sort, column) {
  const first = !TEXTS.has(column);
  if (sort?.column !== column) return { column, descending: first };
  return sort.descending === first ? { column, descending: !first } : null;
}

/**
 * `change`, or `-change` for the highest first; null for what is no sort.
 * @param {string | null} text
 * @returns {Sort | null}
 */
export function sortOf(text) {
  const descending = text?.startsWith("-") ?? false;
  const column = text?.slice(descending ? 1 : 0) ?? "";
  return isSortable(column) ? { column, descending } : null;
}

/** @param {Sort | null} sort */
export const sortText = (sort) => (sort === null ? "" : `${sort.descending ? "-" : ""}${sort.column}`);

/**
 * The quotes in their order. Those without a value come last, either way.
 * @param {Quote[]} quotes
 * @param {Sort | null} sort
 */
export function ordered(quotes, sort) {
  if (sort === null) return [...quotes].sort((a, b) => a.rank - b.rank);
  const value = VALUES[sort.column];
  const sign = sort.descending ? -1 : 1;
  const keyed = quotes.map((quote) => ({ quote, key: value(quote) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null) || tie(a, b);
    return sign * compare(a.key, b.key) || tie(a, b);
  });
  return keyed.map(({ quote }) => quote);
}

/**
 * @param {string | number} a
 * @param {string | number} b
 */
function compare(a, b) {
  return a < b ? -1 : Number(a > b);
}

/**
 * @param {{ quote: Quote }} a
 * @param {{ quote: Quote }} b
 */
function tie({ quote: a }, { quote: b }) {
  return a.symbol < b.symbol ? -1 : 1;
}

/** @param {string | null | undefined} digits */
function number(digits) {
  return digits == null ? null : Number(digits);
}

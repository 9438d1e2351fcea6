// What the page shows, in its address: a link shows the same to somebody else, and a reload to the same person.
//
// A list of symbols that would make the address too long for servers is kept with the browser's history entry instead,
// which a reload keeps too.

import { isSortable, sortOf, sortText } from "./order.js";

/** @import { Sort } from "./order.js" */

const LONGEST = 2_000;

/**
 * `symbols`: what is subscribed to, with "*" for all and "!AAPL" for all but AAPL; null: what the gateway proposes.
 * @typedef {{ symbols: string[] | null, sort: Sort | null, filter: string, rate: string, chart: string }} View
 */

/**
 * @param {string} search the query of the address, with its "?"
 * @param {unknown} state of the history entry
 * @returns {View}
 */
export function read(search, state) {
  const query = new URLSearchParams(search);
  const kept = /** @type {{ symbols?: unknown } | null} */ (state)?.symbols;
  const symbols = query.get("symbols") ?? (Array.isArray(kept) ? kept.join(",") : null);
  return {
    symbols: symbols === null ? null : symbols.split(",").filter(Boolean),
    sort: sortOf(query.get("sort")),
    filter: query.get("filter") ?? "",
    rate: query.get("rate") ?? "",
    chart: query.get("chart") ?? "",
  };
}

/**
 * The query for a view, and what the history entry has to keep beside it.
 * @param {View} view
 */
export function write({ symbols, sort, filter, rate, chart }) {
  const list = symbols?.map(readable).join(",");
  const isShort = list !== undefined && list.length <= LONGEST;
  const parts = [
    isShort ? `symbols=${list}` : "",
    sort !== null && isSortable(sort.column) ? `sort=${sortText(sort)}` : "",
    filter === "" ? "" : `filter=${readable(filter)}`,
    rate === "" ? "" : `rate=${readable(rate)}`,
    chart === "" ? "" : `chart=${readable(chart)}`,
  ].filter(Boolean);
  return { search: parts.length > 0 ? `?${parts.join("&")}` : "", state: isShort || !symbols ? null : { symbols } };
}

/** @param {string} path of a WebSocket beside the page */
export function webSocketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

/** @param {string} text */
function readable(text) {
  return encodeURIComponent(text).replace(/%(2F|3A|24|3D)/g, (code) => decodeURIComponent(code));
}

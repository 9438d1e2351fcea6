// Where the keyboard leads in a table of which one row has the focus.

/** @import { Quote } from "./quote.js" */

/**
 * To which row a key leads; null if it leads to none.
 * @param {string} key
 * @param {number} from
 * @param {number} page rows that fit
 * @param {number} count
 */
export function goal(key, from, page, count) {
  /** @type {Record<string, number>} */
  const goals = {
    ArrowDown: from + 1,
    ArrowUp: from - 1,
    PageDown: from + page,
    PageUp: from - page,
    Home: 0,
    End: count - 1,
  };
  return Object.hasOwn(goals, key) ? Math.max(0, Math.min(count - 1, goals[key])) : null;
}

/**
 * What takes the focus of a quote that is gone: the one behind it, or else the last one.
 * @param {Quote[]} shown
 * @param {Quote[] | null} before
 * @param {Quote} gone
 * @returns {Quote | undefined}
 */
export function next(shown, before, gone) {
  return shown[Math.min(before?.indexOf(gone) ?? 0, shown.length - 1)];
}

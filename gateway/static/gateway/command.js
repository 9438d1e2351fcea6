// A command that names symbols, filled up to the longest message the server takes. Symbols and epochs are ASCII without
// anything that JSON escapes: a character is a byte.

/** @import { CommandFields, Since } from "./types.js" */

export class Command {
  #fields;
  #limit;
  #bytes;
  /** @type {Map<string, Since>} */
  #since = new Map();
  /** @type {string[]} */
  symbols = [];

  /**
   * @param {CommandFields} fields all but the symbols
   * @param {number} limit in bytes
   */
  constructor(fields, limit) {
    this.#fields = fields;
    this.#limit = limit;
    this.#bytes = JSON.stringify({ ...fields, symbols: [], since: {} }).length;
  }

  /**
   * Adds a symbol, to be resumed after `position` if there is one; false if it does not fit. The first one is added in
   * any case, without its position if that does not fit: its stream then begins with a snapshot.
   * @param {string} symbol
   * @param {Since} [position]
   */
  add(symbol, position) {
    const bytes = symbol.length + 3;
    const more = position === undefined ? 0 : sinceBytes(symbol, position);
    if (this.symbols.length > 0 && this.#bytes + bytes + more > this.#limit) return false;
    this.symbols.push(symbol);
    this.#bytes += bytes;
    if (position !== undefined) this.resume(symbol, position);
    return true;
  }

  /**
   * Adds only a position, which "*" takes for any symbol; false if it does not fit.
   * @param {string} symbol
   * @param {Since} position
   */
  resume(symbol, position) {
    const bytes = sinceBytes(symbol, position);
    if (this.#bytes + bytes > this.#limit) return false;
    this.#since.set(symbol, position);
    this.#bytes += bytes;
    return true;
  }

  toJSON() {
    const since = this.#since.size > 0 ? { since: Object.fromEntries(this.#since) } : {};
    return { ...this.#fields, symbols: this.symbols, ...since };
  }
}

/**
 * The length of a position as a member of `since`, with its comma.
 * @param {string} symbol
 * @param {Since} position
 */
function sinceBytes(symbol, position) {
  return symbol.length + 4 + JSON.stringify(position).length;
}

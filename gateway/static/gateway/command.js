// A command that names symbols, filled up to the length the server takes. All that is in it is ASCII, and nothing has to
// be escaped: a character is a byte.

export class Command {
  #fields;
  #limit;
  #bytes;
  #since = new Map();
  symbols = [];

  /** `fields`: all but the symbols; `limit` in bytes. */
  constructor(fields, limit) {
    this.#fields = fields;
    this.#limit = limit;
    this.#bytes = JSON.stringify({ ...fields, symbols: [], since: {} }).length;
  }

  /** Adds a symbol, to be resumed after `position` if there is one; false if that does not fit any more. */
  add(symbol, position) {
    const bytes = symbol.length + 3;
    const more = position === undefined ? 0 : sinceBytes(symbol, position);
    if (this.symbols.length > 0 && this.#bytes + bytes + more > this.#limit) return false;
    this.symbols.push(symbol);
    this.#bytes += bytes;
    // Where the limit is too low for even one, that one begins anew.
    if (position !== undefined) this.resume(symbol, position);
    return true;
  }

  /** Adds what to resume after alone, which "*" takes for any symbol; false if that does not fit any more. */
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

// As a member of the object, with a comma.
function sinceBytes(symbol, position) {
  return symbol.length + 4 + JSON.stringify(position).length;
}

// Where this client stands in the stream of each symbol, and what every message of the server means for that. No I/O.
//
// A symbol's ticks are numbered: `seq` rises by one, within an `epoch` that ends when the bus loses its memory. So of two
// messages that follow each other, next.seq - last.seq - 1 ticks were not sent, and all of them must have been accounted
// for: skipped by receipts (`conflated`), or missed by reports (`gap`). What is left over is a gap that nothing reported.
//
// Numbers arrive as text (exact.js) and are made numbers here: a seq is a count and fits a double.

/** @import { Acknowledgement, Conflated, Gap, Heartbeat, Since, Tick } from "./types.js" */

/**
 * `explained`: ticks after `seq` that receipts accounted for. `held`: the tick numbered `seq` was delivered; after a gap,
 * and between an acknowledgement and its snapshot, it was not.
 * @typedef {{ seq: number, epoch: string, explained: number, held: boolean }} Position
 */

export class Positions {
  /** @type {Map<string, Position>} */
  #streams = new Map();
  #onGap;

  /**
   * @param {(symbol: string, missed: number | null) => void} onGap is told of ticks that are lost to this client; `missed`
   *   is null where their number cannot be known
   */
  constructor(onGap) {
    this.#onGap = onGap;
  }

  /** The symbols that have a position. */
  symbols() {
    return this.#streams.keys();
  }

  /**
   * What to send as `since` to be given all that this client has not got; undefined where there is nothing to go by.
   * @param {string} symbol
   * @returns {Since | undefined}
   */
  since(symbol) {
    const at = this.#streams.get(symbol);
    if (at === undefined || at.epoch === "") return undefined;
    return { seq: delivered(at), epoch: at.epoch };
  }

  /**
   * Whether the newest tick that this client knows of is also one that it has.
   * @param {string} symbol
   */
  holds(symbol) {
    return this.#streams.get(symbol)?.held ?? true;
  }

  /** @param {string} symbol */
  forget(symbol) {
    this.#streams.delete(symbol);
  }

  /**
   * Judges a `tick` or a `snapshot`: false if it is not news, being a duplicate or older than what is held.
   * @param {Pick<Tick, "symbol" | "seq" | "epoch">} tick
   */
  take({ symbol, seq: number, epoch = "" }) {
    if (number === undefined) return true; // it has no place in a stream
    const seq = Number(number);
    const at = this.#streams.get(symbol);
    if (at === undefined) {
      this.#streams.set(symbol, { seq, epoch, explained: 0, held: true });
      return true;
    }
    if (ended(at, epoch)) {
      this.#onGap(symbol, null);
    } else {
      if (seq < at.seq || (seq === at.seq && at.held)) return false;
      this.#report(symbol, seq - at.seq - 1 - at.explained);
    }
    if (epoch !== "") at.epoch = epoch;
    at.seq = seq;
    at.explained = 0;
    at.held = true;
    return true;
  }

  /**
   * A receipt: so many ticks of these symbols were skipped on purpose before the next one.
   * @param {Pick<Conflated, "skipped">} receipt
   */
  conflated({ skipped }) {
    for (const [symbol, count] of Object.entries(skipped)) {
      const at = this.#streams.get(symbol);
      if (at !== undefined) at.explained += Number(count);
    }
  }

  /**
   * The gateway missed ticks itself. Its count is believed unless the numbers say more.
   * @param {Gap} report
   */
  gap({ symbol, missed, seq: number, epoch }) {
    const seq = Number(number);
    const at = this.#streams.get(symbol);
    const goesOn = at !== undefined && missed !== null && !ended(at, epoch);
    if (missed === null) this.#onGap(symbol, null);
    else this.#report(symbol, goesOn ? Math.max(Number(missed), seq - at.seq - at.explained) : Number(missed));
    if (goesOn && seq < at.seq) return;
    this.#streams.set(symbol, { seq, epoch, explained: 0, held: false });
  }

  /**
   * The symbols of which this client does not have what the server says it should: to be asked for again.
   * @param {Pick<Heartbeat, "seqs">} heartbeat
   */
  heartbeat({ seqs = {} }) {
    const isBehind = (/** @type {[string, string]} */ [symbol, seq]) => {
      const at = this.#streams.get(symbol);
      return at !== undefined && (at.seq !== Number(seq) || (!at.held && at.seq > 0));
    };
    return Object.entries(seqs)
      .filter(isBehind)
      .map(([symbol]) => symbol);
  }

  /**
   * An acknowledgement, with the server's positions. Returns how many symbols are resumed without loss (`recovered`), how
   * many ticks will be delivered late for that (`late`), and how many symbols start over though they were to be resumed
   * (`restarted`).
   * @param {Pick<Acknowledgement, "positions">} acknowledgement
   */
  subscribed({ positions = {} }) {
    const outcome = { recovered: 0, late: 0, restarted: 0 };
    for (const [symbol, position] of Object.entries(positions)) {
      const at = this.#streams.get(symbol);
      if (position.recovered && at !== undefined) {
        outcome.recovered += 1;
        outcome.late += Math.max(0, Number(position.seq) - delivered(at));
        // What a receipt was for comes after all.
        at.explained = 0;
      } else {
        if (position.recovered === false) outcome.restarted += 1;
        this.#begin(symbol, at, Number(position.seq), position.epoch);
      }
    }
    return outcome;
  }

  /**
   * The stream goes on with the snapshot of `seq`, or, where nothing ticked yet, with the first tick.
   * @param {string} symbol
   * @param {Position | undefined} at
   * @param {number} seq
   * @param {string} epoch
   */
  #begin(symbol, at, seq, epoch) {
    const nothing = { seq, epoch, explained: 0, held: seq === 0 };
    if (at === undefined) {
      this.#streams.set(symbol, nothing);
    } else if (ended(at, epoch)) {
      // A symbol that never ticked has missed nothing; one that did may have gone on after the last tick seen.
      if (at.seq > 0 || seq > 0) this.#onGap(symbol, null);
      this.#streams.set(symbol, { ...nothing, held: seq === 0 && at.seq === 0 && at.held });
    } else if (seq > at.seq) {
      this.#report(symbol, seq - at.seq - 1 - at.explained);
      this.#streams.set(symbol, nothing);
    }
  }

  /**
   * @param {string} symbol
   * @param {number} missed
   */
  #report(symbol, missed) {
    if (missed > 0) this.#onGap(symbol, missed);
  }
}

/** @param {Position} at */
function delivered(at) {
  return at.held ? at.seq : Math.max(0, at.seq - 1);
}

/**
 * Whether `at` is a position in another stream than that of `epoch`. Ticks do not name their epoch.
 * @param {Position} at
 * @param {string} epoch
 */
function ended(at, epoch) {
  return epoch !== "" && at.epoch !== "" && at.epoch !== epoch;
}

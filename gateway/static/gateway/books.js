// The books of one client over all its streams: what was in them, and what became of it. No I/O.
//
//     streamed = received + skipped + missed
//
// holds after every tick, or something was lost without a word. Numbers arrive as text (exact.js).

/** @import { Acknowledgement, Conflated, Gap, Since, Tick } from "./types.js" */

/** `pending`: skipped by receipts since the tick numbered `seq`. */
/** @typedef {{ seq: number, epoch: string, pending: { slow: number, rate: number } }} Stream */

const nothing = () => ({ slow: 0, rate: 0 });

export class Books {
  /** How many ticks the streams had since this client came to them. */
  streamed = 0;
  received = 0;
  skipped = nothing();
  missed = 0;
  /** Of those received: came after all, because the client said how far it had read. */
  recovered = 0;
  /** Streams that began again, with an unknown number of ticks lost. */
  restarted = 0;
  /** @type {Map<string, Stream>} */
  #streams = new Map();

  get unaccounted() {
    return this.streamed - this.received - this.skipped.slow - this.skipped.rate - this.missed;
  }

  symbols() {
    return this.#streams.keys();
  }

  /**
   * @param {string} symbol
   * @returns {Since | undefined}
   */
  since(symbol) {
    const at = this.#streams.get(symbol);
    return at === undefined || at.epoch === "" ? undefined : { seq: at.seq, epoch: at.epoch };
  }

  /**
   * A `tick` or a `snapshot`; what the client came to the stream with is not counted.
   * @param {Pick<Tick, "symbol" | "seq" | "epoch">} tick
   */
  take({ symbol, seq: number, epoch = "" }) {
    const seq = Number(number);
    const at = this.#streams.get(symbol);
    if (at === undefined || ended(at, epoch)) this.#begin(symbol, seq, epoch);
    else if (seq > at.seq) {
      this.received += 1;
      this.#advance(at, seq);
    }
  }

  /** @param {Pick<Conflated, "reason" | "skipped">} receipt */
  conflated({ reason, skipped }) {
    for (const [symbol, count] of Object.entries(skipped)) {
      const at = this.#streams.get(symbol);
      if (at !== undefined) at.pending[reason] += Number(count);
    }
  }

  /** @param {Pick<Gap, "symbol" | "missed" | "seq" | "epoch">} gap */
  gap({ symbol, missed, seq, epoch }) {
    const at = this.#streams.get(symbol);
    if (at === undefined || missed === null || ended(at, epoch) || Number(seq) < at.seq) {
      this.#begin(symbol, Number(seq), epoch);
    } else {
      this.missed += Number(missed);
      this.#advance(at, Number(seq));
    }
  }

  /**
   * Where streams are, as an acknowledgement says.
   * @param {Pick<Acknowledgement, "positions">} acknowledgement
   */
  subscribed({ positions = {} }) {
    for (const [symbol, { seq: number, epoch, recovered }] of Object.entries(positions)) {
      const seq = Number(number);
      const at = this.#streams.get(symbol);
      if (at === undefined || ended(at, epoch) || seq < at.seq) this.#begin(symbol, seq, epoch);
      else if (recovered) {
        this.recovered += seq - at.seq;
        at.pending = nothing(); // what receipts were for comes after all
      } else if (seq > at.seq) {
        // The snapshot that follows is the newest of them.
        this.missed += seq - 1 - at.seq - at.pending.slow - at.pending.rate;
        this.#advance(at, seq - 1);
      }
    }
  }

  /**
   * @param {string} symbol
   * @param {number} seq
   * @param {string} epoch
   */
  #begin(symbol, seq, epoch) {
    if (this.#streams.has(symbol)) this.restarted += 1;
    this.#streams.set(symbol, { seq, epoch, pending: nothing() });
  }

  /**
   * @param {Stream} at
   * @param {number} seq
   */
  #advance(at, seq) {
    this.streamed += seq - at.seq;
    this.skipped.slow += at.pending.slow;
    this.skipped.rate += at.pending.rate;
    at.pending = nothing();
    at.seq = seq;
  }
}

/**
 * @param {Stream} at
 * @param {string} epoch "" where the message names none
 */
function ended(at, epoch) {
  return epoch !== "" && at.epoch !== "" && at.epoch !== epoch;
}

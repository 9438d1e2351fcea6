// What became of the streams after a lost connection, told once the answers for all of them are there.

import { counted } from "./tally.js";

/** @import { Counts, Gap } from "./client.js" */
/** @import { Notices } from "./notices.js" */

export class Resumed {
  #notices;
  /**
   * What had been resumed before the connection was lost; null while nothing is due.
   * @type {Pick<Counts, "resumed" | "late"> | null}
   */
  #before = null;
  /** @type {Set<string>} */
  #restarted = new Set();

  /** @param {Notices} notices */
  constructor(notices) {
    this.#notices = notices;
  }

  /**
   * The connection is lost.
   * @param {Pick<Counts, "resumed" | "late">} counts
   */
  begin({ resumed, late }) {
    this.#before ??= { resumed, late };
  }

  /** @param {Gap} gap */
  gap({ symbol, reason }) {
    if (this.#before !== null && reason === "not_recovered") this.#restarted.add(symbol);
  }

  /**
   * All that was asked for on the new connection is answered.
   * @param {Pick<Counts, "resumed" | "late">} counts
   */
  end(counts) {
    if (this.#before === null) return;
    const resumed = counts.resumed - this.#before.resumed;
    const late = counts.late - this.#before.late;
    const restarted = this.#restarted.size;
    this.#before = null;
    this.#restarted.clear();
    if (resumed > 0) {
      this.#notices.add(`Resumed: nothing lost of ${counted(resumed, "symbol")}, ${counted(late, "tick")} came late.`);
    }
    if (restarted > 0) {
      const what = `${counted(restarted, "symbol")} started over with the newest tick.`;
      this.#notices.add(`Not resumed: ${what}`, "warning");
    }
  }
}

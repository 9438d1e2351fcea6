// What became of the streams after a lost connection, told once the answers for all of them are there.

import { counted } from "./tally.js";

/** @import { Notices } from "./notices.js" */
/** @import { Positions } from "./positions.js" */

export class Resumed {
  #notices;
  /**
   * The sum of what the answers say; null while none is due.
   * @type {ReturnType<Positions["subscribed"]> | null}
   */
  #sum = null;

  /** @param {Notices} notices */
  constructor(notices) {
    this.#notices = notices;
  }

  /** The connection is lost. */
  begin() {
    this.#sum = { recovered: 0, late: 0, restarted: 0 };
  }

  /**
   * @param {ReturnType<Positions["subscribed"]>} outcome of one answer
   * @param {boolean} isLast
   */
  add(outcome, isLast) {
    if (this.#sum === null) return;
    this.#sum.recovered += outcome.recovered;
    this.#sum.late += outcome.late;
    this.#sum.restarted += outcome.restarted;
    if (!isLast) return;
    const { recovered, late, restarted } = this.#sum;
    this.#sum = null;
    if (recovered > 0) {
      this.#notices.add(
        `Resumed: nothing lost of ${counted(recovered, "symbol")}, ${counted(late, "tick")} came late.`,
      );
    }
    if (restarted > 0) {
      const what = `${counted(restarted, "symbol")} started over with the newest tick.`;
      this.#notices.add(`Not resumed: ${what}`, "warning");
    }
  }
}

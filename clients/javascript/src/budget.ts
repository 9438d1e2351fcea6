// How many commands may still be sent.

// Of what the gateway allows. Commands that were held up on the way arrive closer together than they were sent.
const SHARE = 0.8;

/** A token bucket for so many commands a second, and as many at once. `clock` gives seconds. */
export class Budget {
  #perSecond;
  #clock;
  #tokens;
  #at;

  constructor(perSecond: number, clock: () => number) {
    this.#perSecond = Math.max(1, SHARE * perSecond);
    this.#clock = clock;
    this.#tokens = this.#perSecond;
    this.#at = clock();
  }

  /** Takes one command's worth; returns the seconds to wait before the command may be sent. */
  spend(): number {
    const now = this.#clock();
    this.#tokens = Math.min(this.#perSecond, this.#tokens + (now - this.#at) * this.#perSecond) - 1;
    this.#at = now;
    return Math.max(0, -this.#tokens / this.#perSecond);
  }
}

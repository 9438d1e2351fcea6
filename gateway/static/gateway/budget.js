// How many commands may still be sent: a token bucket, filled at the rate at which the server's own is.

export class Budget {
  #perSecond;
  #now;
  #left;
  #countedAt;

  /**
   * @param {number} perSecond also how many may be sent at once
   * @param {() => number} now a monotonic clock in ms
   */
  constructor(perSecond, now = () => performance.now()) {
    this.#perSecond = perSecond;
    this.#now = now;
    this.#left = perSecond;
    this.#countedAt = now();
  }

  /** Takes a token for one command; false if there is none. */
  spend() {
    const now = this.#now();
    this.#left = Math.min(this.#perSecond, this.#left + ((now - this.#countedAt) / 1_000) * this.#perSecond);
    this.#countedAt = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** The ms until there is a token again, after `spend` said no. */
  get wait() {
    return Math.ceil(((1 - this.#left) / this.#perSecond) * 1_000);
  }
}

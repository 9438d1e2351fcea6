// How many commands may still be sent: so many at once, and so many a second, as the server counts them.

export class Budget {
  #perSecond;
  #now;
  #left;
  #countedAt;

  /** `now()` gives ms. */
  constructor(perSecond, now = () => performance.now()) {
    this.#perSecond = perSecond;
    this.#now = now;
    this.#left = perSecond;
    this.#countedAt = now();
  }

  /** Takes one command's worth; false if there is none. */
  spend() {
    const now = this.#now();
    this.#left = Math.min(this.#perSecond, this.#left + ((now - this.#countedAt) / 1_000) * this.#perSecond);
    this.#countedAt = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** The ms until there is one again, after `spend` said no. */
  get wait() {
    return Math.ceil(((1 - this.#left) / this.#perSecond) * 1_000);
  }
}

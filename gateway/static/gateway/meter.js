// Messages per second, averaged over the last few seconds.

const WINDOW_SECONDS = 3;

export class Meter {
  #count = 0;
  /** @type {number[]} */
  #seconds = [];

  count() {
    this.#count += 1;
  }

  /** The rate; to be called once a second. */
  tick() {
    this.#seconds.push(this.#count);
    this.#count = 0;
    if (this.#seconds.length > WINDOW_SECONDS) this.#seconds.shift();
    return this.#seconds.reduce((sum, count) => sum + count, 0) / this.#seconds.length;
  }
}

// The course of a price since its first tick, in a bounded number of points. At the bound every second point is dropped
// and the time between points doubles, so the chart always begins at the price that the change column is against.

const CAPACITY = 120;
const FIRST_INTERVAL_MS = 250;

export class History {
  /** @type {number[]} */
  values = [];
  /**
   * In ms, one for each value.
   * @type {number[]}
   */
  times = [];
  #interval = FIRST_INTERVAL_MS;

  /**
   * Adds a point, or replaces the newest one if that is younger than the interval.
   * @param {number} value
   * @param {number} time in ms
   */
  add(value, time) {
    const last = this.times.length - 1;
    // The first point stays: it is the base of the change.
    if (last > 0 && time - this.times[last] < this.#interval) {
      this.values[last] = value;
      return;
    }
    this.values.push(value);
    this.times.push(time);
    if (this.values.length > CAPACITY) this.#thin();
  }

  #thin() {
    const newest = this.values.length - 1;
    const stays = (/** @type {number} */ _, /** @type {number} */ index) => index % 2 === 0 || index === newest;
    this.values = this.values.filter(stays);
    this.times = this.times.filter(stays);
    this.#interval *= 2;
  }
}

// The course of a price since its first tick, in a bounded number of points. At the bound every second point is dropped
// and the time between points doubles, so the chart always begins at the price that the change column is against.
//
// Points are kept in place: what hundreds of symbols hold stays as it is however long they tick.

const CAPACITY = 120;
const FIRST_CAPACITY = 8;
const FIRST_INTERVAL_MS = 250;

export class History {
  #values = new Float64Array(FIRST_CAPACITY);
  #times = new Float64Array(FIRST_CAPACITY);
  #size = 0;
  #interval = FIRST_INTERVAL_MS;

  get values() {
    return this.#values.subarray(0, this.#size);
  }

  /** In ms, one for each value. */
  get times() {
    return this.#times.subarray(0, this.#size);
  }

  /**
   * Adds a point, or replaces the newest one if that is younger than the interval.
   * @param {number} value
   * @param {number} time in ms
   */
  add(value, time) {
    const last = this.#size - 1;
    // The first point stays: it is the base of the change.
    if (last > 0 && time - this.#times[last] < this.#interval) {
      this.#values[last] = value;
      return;
    }
    if (this.#size === CAPACITY) this.#thin();
    else if (this.#size === this.#values.length) this.#grow();
    this.#values[this.#size] = value;
    this.#times[this.#size] = time;
    this.#size += 1;
  }

  #grow() {
    const capacity = Math.min(CAPACITY, 4 * this.#size);
    this.#values = grown(this.#values, capacity);
    this.#times = grown(this.#times, capacity);
  }

  #thin() {
    this.#size = CAPACITY / 2;
    for (let index = 0; index < this.#size; index += 1) {
      this.#values[index] = this.#values[2 * index];
      this.#times[index] = this.#times[2 * index];
    }
    this.#interval *= 2;
  }
}

/**
 * @param {Float64Array} numbers
 * @param {number} capacity
 */
function grown(numbers, capacity) {
  const more = new Float64Array(capacity);
  more.set(numbers);
  return more;
}

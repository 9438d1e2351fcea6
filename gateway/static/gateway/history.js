// The course of a price since its first tick, in a bounded number of points. When they are used up every second one goes
// and the time between points doubles: the chart always begins where the change column begins.

const CAPACITY = 120;
const FIRST_INTERVAL_MS = 250;

export class History {
  values = [];
  times = [];
  #interval = FIRST_INTERVAL_MS;

  /** Adds `value` at `time` (ms); one that follows its predecessor closely takes its place. */
  add(value, time) {
    const last = this.times.length - 1;
    // The very first point stays: it is the base of the change.
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
    const stays = (_, index) => index % 2 === 0 || index === newest;
    this.values = this.values.filter(stays);
    this.times = this.times.filter(stays);
    this.#interval *= 2;
  }
}

// Work on a list that may be more than there is time for: what was left over comes first the next time.

export class Turns {
  #next = 0;

  /**
   * Does `work` for one item after the other, for each once at most, until it returns false; returns whether it never did.
   * @template T
   * @param {T[]} items
   * @param {(item: T) => boolean} work
   */
  take(items, work) {
    const first = this.#next;
    for (let step = 0; step < items.length; step += 1) {
      const index = (first + step) % items.length;
      if (work(items[index])) continue;
      this.#next = (index + 1) % items.length;
      return false;
    }
    return true;
  }
}

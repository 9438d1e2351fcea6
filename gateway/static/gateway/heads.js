// The heads of the table's columns, which sort it.

/** @import { Sort } from "./order.js" */

export class Heads {
  #heads;

  /**
   * @param {HTMLTableElement} table
   * @param {(column: string) => void} onPress
   */
  constructor(table, onPress) {
    this.#heads = [...table.querySelectorAll("th")].filter((head) => head.dataset.sort !== undefined);
    for (const head of this.#heads) {
      head.querySelector("button")?.addEventListener("click", () => onPress(head.dataset.sort ?? ""));
    }
  }

  /** @param {Sort | null} sort */
  show(sort) {
    for (const head of this.#heads) {
      if (head.dataset.sort !== sort?.column) head.removeAttribute("aria-sort");
      else head.ariaSort = sort?.descending ? "descending" : "ascending";
    }
  }
}

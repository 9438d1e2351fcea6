// What the page has to report beside prices, newest first, in a quiet list.

import { clockTime } from "./times.js";

const MOST = 40;

/** @typedef {{ item: HTMLElement, topic: string | null, text: string }} Notice */

export class Notices {
  #list;
  #empty;
  /** @type {Notice | null} */
  #newest = null;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty shown while there is no notice
   */
  constructor(list, empty) {
    this.#list = list;
    this.#empty = empty;
  }

  /**
   * Adds a line. One of the same `topic` as the newest replaces it. If it also says the same the list is left alone,
   * since a screen reader reads out every line that is added.
   * @param {string} text
   * @param {"info" | "warning" | "error"} level
   * @param {string | null} topic
   */
  add(text, level = "info", topic = null) {
    if (topic !== null && this.#newest?.topic === topic) {
      if (this.#newest.text === text) return;
      this.#newest.item.remove();
    }
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = clockTime(Date.now());
    item.dataset.level = level;
    item.append(time, text);
    this.#list.prepend(item);
    this.#newest = { item, topic, text };
    this.#empty.hidden = true;
    while (this.#list.children.length > MOST) this.#list.lastElementChild?.remove();
  }
}

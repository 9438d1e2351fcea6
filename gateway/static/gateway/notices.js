// What the server had to say beside ticks, newest first, in a quiet list.

import { clockTime } from "./times.js";

const MOST = 40;

export class Notices {
  #list;
  #empty;
  #newest = null;

  constructor(list, empty) {
    this.#list = list;
    this.#empty = empty;
  }

  /**
   * Adds a line; `level` is "info", "warning" or "error". One of the same `topic` as the newest takes its place, unless it
   * says the same: then the list is left alone, since whatever is added is read out.
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
    while (this.#list.children.length > MOST) this.#list.lastElementChild.remove();
  }
}

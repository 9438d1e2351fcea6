// The course of a price as a chart with axes. uPlot draws it, and is loaded when the first chart is opened.

import { labels, room } from "./axis.js";
import { clockTime } from "./times.js";

/** @import uPlot from "./vendor/uplot/uPlot.esm.js" */
/** @import { History } from "./history.js" */

export class Chart {
  #element;
  /** @type {uPlot | null} */
  #plot = null;
  #isLoading = false;
  /** @type {Pick<History, "values" | "times"> | null} */
  #history = null;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#restart());
  }

  /** @param {Pick<History, "values" | "times">} history of which at least two points make a line */
  draw(history) {
    this.#history = history;
    if (this.#plot === null) this.#start();
    else this.#plot.setData(this.#data());
  }

  clear() {
    this.#plot?.destroy();
    this.#plot = null;
  }

  #restart() {
    if (this.#plot === null) return;
    this.clear();
    this.#start();
  }

  async #start() {
    if (this.#isLoading) return;
    this.#isLoading = true;
    const { default: Plot } = await import("./vendor/uplot/uPlot.esm.js");
    this.#isLoading = false;
    if (this.#history !== null) this.#plot = new Plot(this.#options(), this.#data(), this.#element);
  }

  /** @returns {[number[], number[]]} */
  #data() {
    if (this.#history === null) return [[], []];
    const { times, values } = this.#history;
    return [Array.from(times, (time) => (performance.timeOrigin + time) / 1_000), [...values]];
  }

  #size() {
    return { width: this.#element.clientWidth, height: this.#element.clientHeight };
  }

  #options() {
    const style = getComputedStyle(this.#element);
    const color = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: color("quiet"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false } };
    const clock = (/** @type {unknown} */ _, /** @type {number[]} */ times) =>
      times.map((time) => clockTime(time * 1_000));
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false },
      series: [{}, { stroke: color("accent"), width: 1.5, points: { show: false } }],
      axes: [
        { ...axis, values: clock, space: 90, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200] },
        {
          ...axis,
          values: (/** @type {unknown} */ _, /** @type {number[]} */ prices) => labels(prices),
          size: (/** @type {unknown} */ _, /** @type {string[] | null} */ texts) => room(texts ?? []),
        },
      ],
    };
  }
}

// Where the time of a client's newest ticks went, drawn as it comes: the steps of each on top of each other.

import { STEPS } from "./traces.js";

const SVG = "http://www.w3.org/2000/svg";
const POINTS = 120;

export class Way {
  #svg = document.createElementNS(SVG, "svg");
  /** The last step first, since each covers those below it. */
  #paths = [...STEPS].reverse().map((step) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", `step ${step}`);
    this.#svg.append(path);
    return path;
  });
  /** @type {number[][]} */
  #sums = [];

  /** @param {Element} parent */
  constructor(parent) {
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("viewBox", `0 0 ${POINTS - 1} 1`);
    this.#svg.setAttribute("aria-hidden", "true");
    parent.append(this.#svg);
  }

  /** @param {number[]} steps in ms */
  draw(steps) {
    let sum = 0;
    const sums = steps.map((ms) => {
      sum += ms;
      return sum;
    });
    this.#sums = [...this.#sums, sums].slice(-POINTS);
    const highest = Math.max(...this.#sums.map((each) => each[each.length - 1])) || 1;
    this.#paths.forEach((path, index) => {
      const step = STEPS.length - 1 - index;
      const points = this.#sums.map((each, x) => `${x} ${(1 - each[step] / highest).toFixed(3)}`);
      path.setAttribute("d", `M0 1L${points.join("L")}L${points.length - 1} 1Z`);
    });
  }
}

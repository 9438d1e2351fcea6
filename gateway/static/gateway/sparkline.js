// A chart the size of a word: the course of a price over time, with a line where it began.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 132;
const HEIGHT = 24;
const MARGIN = 2;

export class Sparkline {
  #svg = document.createElementNS(SVG, "svg");
  #area = this.#add("path", "area");
  #base = this.#add("line", "base");
  #line = this.#add("path", "line");
  #end = this.#add("circle", "end");

  /** @param {Element} parent */
  constructor(parent) {
    this.#svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.#svg.setAttribute("aria-hidden", "true");
    this.#base.setAttribute("x1", "0");
    this.#base.setAttribute("x2", `${WIDTH}`);
    this.#end.setAttribute("r", "1.6");
    parent.append(this.#svg);
  }

  /** @param {{ values: number[] | Float64Array, times: number[] | Float64Array }} course with at least one point */
  draw({ values, times }) {
    const newest = values.length - 1;
    const x = scale(times[0], times[newest], MARGIN, WIDTH - MARGIN - 1);
    const y = scale(Math.min(...values), Math.max(...values), HEIGHT - MARGIN, MARGIN);
    const points = Array.from(values, (value, index) => `${x(times[index])} ${y(value)}`);
    const line = `M${points.join("L")}`;
    this.#line.setAttribute("d", line);
    this.#area.setAttribute("d", `${line}V${HEIGHT}H${x(times[0])}Z`);
    this.#base.setAttribute("y1", y(values[0]));
    this.#base.setAttribute("y2", y(values[0]));
    this.#end.setAttribute("cx", x(times[newest]));
    this.#end.setAttribute("cy", y(values[newest]));
  }

  /**
   * @param {string} name
   * @param {string} className
   */
  #add(name, className) {
    const element = document.createElementNS(SVG, name);
    element.setAttribute("class", className);
    this.#svg.append(element);
    return element;
  }
}

/**
 * Maps a range of values to one of coordinates; a range without extent to the middle.
 * @param {number} low
 * @param {number} high
 * @param {number} from
 * @param {number} to
 * @returns {(value: number) => string}
 */
function scale(low, high, from, to) {
  if (high === low) return () => ((from + to) / 2).toFixed(1);
  const factor = (to - from) / (high - low);
  return (value) => (from + (value - low) * factor).toFixed(1);
}

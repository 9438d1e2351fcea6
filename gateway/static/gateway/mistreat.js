// The same symbols as three clients see them, side by side. The visitor mistreats the one in the middle, which is told
// what it does not get, while the others do not notice. They run only while the view is open.

import { webSocketUrl } from "./address.js";
import { EVERYTHING } from "./client.js";
import { find } from "./dom.js";
import { Sparkline } from "./sparkline.js";
import { grouped } from "./tally.js";
import { STEPS, shown } from "./traces.js";
import { Way } from "./way.js";

/** @import { Board } from "./board.js" */
/** @import { Choice } from "./choice.js" */
/** @import { Config, LaneBegin, LaneOrders, LaneSummary } from "./types.js" */

const HASH = "#mistreat";
const DRAW_MS = 250;
const A_SECOND = 1_000 / DRAW_MS;
const POINTS = 30 * A_SECOND;
const PAUSE_SECONDS = 10;
const CUT_SECONDS = 3;
// Of five. A cost for each message would not do: a browser reads ahead, and what it has read is old when its turn comes.
const SLOW_SECONDS = 4;
const CAP = 1;
// Between clients that keep up there is a difference, too.
const BEHIND_MS = 1_000;

const NAMES = ["Keeps up", "Yours", "Keeps up, too"];
const YOURS = 1;
const STATES = {
  connecting: "connecting",
  live: "live",
  paused: `stopped for ${PAUSE_SECONDS} s`,
  cut: "cut off",
  waiting: "connecting again",
  closed: "closed",
};

/** One client and its card. */
class Lane {
  element;
  /** @type {LaneSummary | null} */
  summary = null;
  #worker = new Worker(new URL("./lane.worker.js", import.meta.url), { type: "module" });
  #sparkline;
  #way;
  /** @type {number[]} */
  #values = [];
  /** @type {number[]} */
  #times = [];
  /** @type {number[]} */
  #received = [];

  /**
   * @param {HTMLElement} element
   * @param {string} name
   * @param {LaneBegin} begin
   */
  constructor(element, name, begin) {
    this.element = element;
    this.#write("name", name);
    this.#write("symbol", begin.watched);
    this.#sparkline = new Sparkline(find(element, ".line", HTMLElement));
    find(element, "svg", SVGElement).setAttribute("preserveAspectRatio", "none");
    this.#worker.onmessage = ({ data }) => {
      this.summary = data;
    };
    this.#way = new Way(find(element, ".way", HTMLElement));
    this.order("begin", begin);
  }

  /**
   * @template {keyof LaneOrders} Order
   * @param {Order} order
   * @param {LaneOrders[Order]} value
   */
  order(order, value) {
    this.#worker.postMessage([order, value]);
  }

  end() {
    this.#worker.terminate();
  }

  /** @param {number} newest the time of the newest tick that any client has */
  draw(newest) {
    const { summary } = this;
    if (summary === null) return;
    const behind = summary.newest > 0 ? newest - summary.newest : 0;
    this.element.dataset.state = summary.state;
    this.element.toggleAttribute("data-behind", behind > BEHIND_MS);
    this.#write("state", STATES[summary.state]);
    this.#write("behind", behind > BEHIND_MS ? `${(behind / 1_000).toFixed(1)} s` : "no");
    this.#write("rate", grouped(this.#rate(summary.received)));
    this.#write("slow", grouped(summary.skipped.slow));
    this.#write("capped", grouped(summary.skipped.rate));
    this.#write("missed", grouped(summary.missed));
    this.#write("recovered", grouped(summary.recovered));
    this.#write("receipt", summary.receipt === "" ? "none yet" : summary.receipt);
    this.#drawWay(summary.steps);
    this.#drawSum(summary);
    this.#drawPrice(summary.price);
  }

  /** @param {LaneSummary} summary */
  #drawSum({ streamed, received, skipped, missed, unaccounted }) {
    this.#write("received", grouped(received));
    this.#write("skipped", grouped(skipped.slow + skipped.rate));
    this.#write("lost", missed > 0 ? ` + ${grouped(missed)} missed` : "");
    this.#write("streamed", grouped(streamed));
    this.#write("unaccounted", unaccounted === 0 ? "nothing unsaid" : `${grouped(unaccounted)} unsaid`);
    this.element.toggleAttribute("data-unsaid", unaccounted !== 0);
  }

  /** @param {number[] | null} steps */
  #drawWay(steps) {
    if (steps === null) return;
    this.#way.draw(steps);
    for (const [index, step] of STEPS.entries()) this.#write(`step-${step}`, shown(steps[index]));
  }

  /** @param {string} price that this client holds, be it old */
  #drawPrice(price) {
    this.#write("price", price === "" ? "\u2013" : price);
    if (price === "") return;
    this.#values = [...this.#values, Number(price)].slice(-POINTS);
    this.#times = [...this.#times, performance.now()].slice(-POINTS);
    this.#sparkline.draw({ values: this.#values, times: this.#times });
  }

  /** @param {number} received */
  #rate(received) {
    this.#received = [...this.#received, received].slice(-A_SECOND - 1);
    return received - this.#received[0];
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  #write(name, text) {
    const element = find(this.element, `[data-of="${name}"]`, HTMLElement);
    if (element.textContent !== text) element.textContent = text;
  }
}

export class Mistreat {
  #section;
  #page;
  /** @type {Lane[]} */
  #lanes = [];
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /**
   * @param {HTMLElement} section
   * @param {{ board: Board, choice: Choice, config: Config }} page which shows what the clients look at
   */
  constructor(section, page) {
    this.#section = section;
    this.#page = page;
    this.#button("pause", () => this.#yours?.summary?.state !== "paused" && this.#yours?.order("pause", PAUSE_SECONDS));
    this.#button("cut", () => this.#yours?.order("cut", CUT_SECONDS));
    this.#toggle("slow", (on) => this.#yours?.order("slow", on ? SLOW_SECONDS : 0));
    this.#toggle("cap", (on) => this.#yours?.order("cap", on ? CAP : null));
    window.addEventListener("hashchange", () => this.show());
  }

  /** Opens or closes the view, as the address says. */
  show() {
    const isOpen = location.hash === HASH;
    document.body.toggleAttribute("data-mistreat", isOpen);
    this.#section.hidden = !isOpen;
    if (isOpen === this.#lanes.length > 0) return;
    if (isOpen) this.#start();
    else this.#stop();
  }

  #start() {
    const begin = this.#begin;
    const cards = this.#section.querySelectorAll("article");
    this.#lanes = NAMES.map((name, index) => new Lane(cards[index], name, begin));
    this.#timer = setInterval(() => this.#draw(), DRAW_MS);
  }

  #stop() {
    clearInterval(this.#timer);
    for (const lane of this.#lanes) lane.end();
    for (const svg of this.#section.querySelectorAll("svg")) svg.remove();
    for (const button of this.#section.querySelectorAll("[aria-pressed]")) button.setAttribute("aria-pressed", "false");
    this.#lanes = [];
  }

  #draw() {
    const newest = Math.max(...this.#lanes.map(({ summary }) => summary?.newest ?? 0));
    for (const lane of this.#lanes) lane.draw(newest);
  }

  /** @returns {LaneBegin} */
  get #begin() {
    const { board, choice, config } = this.#page;
    const shown = board.symbols();
    return {
      url: webSocketUrl(config.websocket_path).href,
      symbols: choice.everything ? [EVERYTHING] : shown,
      watched: shown[0] ?? "",
    };
  }

  /** @returns {Lane | undefined} */
  get #yours() {
    return this.#lanes[YOURS];
  }

  /**
   * @param {string} name
   * @param {(button: HTMLElement) => void} onPress
   */
  #button(name, onPress) {
    const button = find(this.#section, `[data-do="${name}"]`, HTMLElement);
    button.addEventListener("click", () => onPress(button));
  }

  /**
   * @param {string} name
   * @param {(on: boolean) => void} onChange
   */
  #toggle(name, onChange) {
    this.#button(name, (button) => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", `${on}`);
      onChange(on);
    });
  }
}

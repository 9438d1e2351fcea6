// The figures in the bar: what comes, what was left out, what is lost, and whether the page itself is behind.

import { find } from "./dom.js";
import { Gaps } from "./gaps.js";
import { Lag } from "./lag.js";
import { later } from "./later.js";
import { Meter } from "./meter.js";
import { counted, grouped, Tally } from "./tally.js";

/** @import { Conflated } from "./client.js" */
/** @import { Notices } from "./notices.js" */

const LOOK_MS = 250;
const RATE_MS = 1_000;

export class Figures {
  meter = new Meter();
  gaps;
  #bar;
  #notices;
  #lag = new Lag();
  #skipped = { slow: new Tally(), rate: new Tally() };
  #told = 0;
  #showSkipped = later(() => this.#tellSkipped());

  /**
   * @param {HTMLElement} bar
   * @param {Notices} notices
   */
  constructor(bar, notices) {
    this.#bar = bar;
    this.#notices = notices;
    this.gaps = new Gaps((texts) => this.#tellGaps(texts));
    setInterval(() => this.#showRate(), RATE_MS);
    setInterval(() => this.#showLag(), LOOK_MS);
    document.addEventListener("visibilitychange", () => this.#lag.restart());
  }

  /** @param {string} version of the gateway */
  version(version) {
    this.#write("version", `v${version}`);
  }

  /**
   * @param {number} shown
   * @param {number} all
   */
  count(shown, all) {
    this.#write("count", shown === all ? grouped(all) : `${grouped(shown)} of ${grouped(all)}`);
  }

  /** @param {number | null} ms the round trip of the last ping; null while there is no connection */
  ping(ms) {
    this.#write("latency", ms === null ? "\u2013" : `${grouped(Math.max(1, Math.round(ms)))} ms`);
    if (ms !== null) this.#lag.pinged(ms);
  }

  /** @param {Conflated} receipt */
  conflated({ symbol, reason, skipped }) {
    this.#skipped[reason === "rate" ? "rate" : "slow"].add(symbol, skipped);
    if (reason !== "rate") this.#lag.skipped();
    this.#showSkipped();
  }

  #showRate() {
    const rate = this.meter.look();
    this.#write("rate", grouped(rate < 10 && rate > 0 ? Number(rate.toFixed(1)) : Math.round(rate)));
  }

  // The timers of a hidden page say nothing of how busy it is.
  #showLag() {
    if (document.hidden) return this.#lag.restart();
    const ms = this.#lag.look(LOOK_MS);
    const badge = this.#element("behind");
    badge.hidden = ms === null;
    if (ms !== null) badge.textContent = ms > 0 ? `Page behind, ${(ms / 1_000).toFixed(1)} s` : "Page behind";
  }

  #tellSkipped() {
    if (this.#skipped.rate.total > 0) this.#show("skipped-rate", this.#skipped.rate.total);
    const { total, breakdown } = this.#skipped.slow;
    if (total === this.#told) return;
    this.#told = total;
    this.#show("skipped-slow", total);
    this.#notices.add(
      `This page was behind: ${counted(total, "tick")} skipped (${breakdown}).`,
      "warning",
      "conflated",
    );
  }

  /** @param {string[]} texts */
  #tellGaps(texts) {
    this.#show("gaps", this.gaps.count);
    for (const text of texts) this.#notices.add(text, "error");
  }

  /**
   * @param {string} id
   * @param {number} count
   */
  #show(id, count) {
    this.#write(id, grouped(count));
    const { parentElement } = this.#element(id);
    if (parentElement !== null) parentElement.hidden = false;
  }

  /**
   * @param {string} id
   * @param {string} text
   */
  #write(id, text) {
    const element = this.#element(id);
    if (element.textContent !== text) element.textContent = text;
  }

  /** @param {string} id */
  #element(id) {
    return find(this.#bar, `#${id}`, HTMLElement);
  }
}

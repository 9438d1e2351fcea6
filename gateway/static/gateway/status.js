// The connection's state in words, with the countdown to the next attempt. A connection through which no current prices
// come is not called live.

import { find } from "./dom.js";

/** @import { FeedStatus } from "./client.js" */

const TEXTS = {
  connecting: "Connecting\u2026",
  live: "Live",
  stale: "Stale: bus away",
  silent: "Stale: gateway silent",
  reconnecting: "Reconnecting",
  refused: "Refused",
  closed: "Disconnected",
};

export class Status {
  #text;
  #countdown;
  #retry;
  #signIn;
  /** @type {FeedStatus | null} */
  #status = null;

  /**
   * @param {HTMLElement} element
   * @param {{ retry: HTMLElement, signIn: HTMLElement | null, onRetry: () => void }} controls
   */
  constructor(element, { retry, signIn, onRetry }) {
    this.#text = find(element, "[role=status]", HTMLElement);
    this.#countdown = find(element, "[data-countdown]", HTMLElement);
    this.#retry = retry;
    this.#signIn = signIn;
    retry.addEventListener("click", onRetry);
    setInterval(() => this.#render(), 250);
  }

  /** @param {FeedStatus} status */
  show(status) {
    this.#status = status;
    this.#render();
  }

  #render() {
    const status = this.#status;
    const name = this.#name();
    document.body.dataset.connection = name;
    write(this.#text, name === "stale" && status?.delayed ? `Waiting: ${why(status.delayed)}` : TEXTS[name]);
    write(this.#countdown, untilRetry(status));
    this.#retry.hidden = status?.state !== "waiting" && status?.state !== "closed";
    if (this.#signIn !== null) this.#signIn.hidden = name !== "refused";
  }

  #name() {
    const status = this.#status;
    if (status === null || status.state === "idle") return "connecting";
    if (status.state === "waiting") return status.loss?.isRefused ? "refused" : "reconnecting";
    return status.state === "live" && (!status.isLive || status.delayed) ? "stale" : status.state;
  }
}

/** @param {NonNullable<FeedStatus["delayed"]>} delayed */
const why = ({ code, reason }) => (reason || code).replaceAll("_", " ");

/** @param {FeedStatus | null} status */
function untilRetry(status) {
  if (status?.state !== "waiting" || status.retryAt === null) return "";
  const seconds = Math.max(1, Math.ceil((status.retryAt - Date.now()) / 1000));
  return status.loss?.isRefused ? ` \u00b7 next try in ${seconds} s` : ` in ${seconds} s`;
}

/**
 * Writes only what is new: a screen reader announces a live region again after every write.
 * @param {Element} element
 * @param {string} text
 */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The connection's state in words, with the countdown to the next attempt. A connection through which no current prices
// come is not called live.

import { find } from "./dom.js";

/** @import { ConnectionState } from "./types.js" */

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
  /** @type {ConnectionState} */
  #state = { name: "connecting" };
  #hasBus = true;
  #delay = "";

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

  /** @param {ConnectionState} state */
  show(state) {
    this.#state = state;
    this.#render();
  }

  /** @param {boolean} isConnected whether the gateway hears the bus that prices come from */
  showBus(isConnected) {
    this.#hasBus = isConnected;
    this.#render();
  }

  /** @param {string} why the gateway refuses for the moment what it was asked for; "": it does not */
  showDelay(why) {
    this.#delay = why;
    this.#render();
  }

  #render() {
    const state = this.#state;
    const name = this.#name();
    document.body.dataset.connection = name;
    write(this.#text, name === "stale" && this.#delay ? `Waiting: ${this.#delay}` : TEXTS[name]);
    write(this.#countdown, state.name === "waiting" ? untilRetry(state) : "");
    this.#retry.hidden = state.name !== "waiting" && state.name !== "closed";
    if (this.#signIn !== null) this.#signIn.hidden = name !== "refused";
  }

  #name() {
    const state = this.#state;
    if (state.name === "waiting") return state.refused ? "refused" : "reconnecting";
    return state.name === "live" && (!this.#hasBus || this.#delay) ? "stale" : state.name;
  }
}

/** @param {{ retryAt: number, refused: boolean }} state */
function untilRetry({ retryAt, refused }) {
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
  return refused ? ` \u00b7 next try in ${seconds} s` : ` in ${seconds} s`;
}

/**
 * Writes only what is new: a screen reader announces a live region again after every write.
 * @param {Element} element
 * @param {string} text
 */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

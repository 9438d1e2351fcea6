// The form that subscribes to what is typed.

import { find } from "./dom.js";
import { isSymbol } from "./subscriptions.js";
import { Suggest } from "./suggest.js";

/** @import { Names } from "./names.js" */

export class SubscribeForm {
  #input;
  #error;
  #suggest;
  #onSubscribe;

  /**
   * @param {HTMLFormElement} form
   * @param {Names} names
   * @param {(symbols: string[]) => void} onSubscribe is told of at least one
   */
  constructor(form, names, onSubscribe) {
    this.#input = find(form, "input", HTMLInputElement);
    this.#error = find(document, "#subscribe-error", HTMLElement);
    this.#onSubscribe = onSubscribe;
    // What was picked is meant as it is written.
    this.#suggest = new Suggest(this.#input, names, () => this.#take((symbols) => symbols));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take((symbols) => names.known(symbols));
    });
  }

  focus() {
    this.#input.focus();
  }

  /** @param {(symbols: string[]) => string[] | Promise<string[]>} meant makes of what was typed what is meant */
  async #take(meant) {
    const typed = this.#input.value.split(/[\s,;]+/).filter(Boolean);
    const wrong = typed.find((symbol) => !isSymbol(symbol));
    this.#showError(wrong);
    if (wrong !== undefined || typed.length === 0) return;
    this.#input.value = "";
    this.#suggest.close();
    this.#onSubscribe(await meant(typed));
  }

  /** @param {string | undefined} wrong what was typed that is no symbol */
  #showError(wrong) {
    this.#input.toggleAttribute("aria-invalid", wrong !== undefined);
    this.#error.textContent =
      wrong === undefined
        ? ""
        : `\u201c${wrong}\u201d is no symbol: 1 to 32 letters, digits and .-_/=^:+$#, or * for all`;
  }
}

// The form that subscribes to what is typed.

import { find } from "./dom.js";
import { Suggest } from "./suggest.js";
import { isSymbol } from "./symbols.js";

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
    this.#suggest = new Suggest(this.#input, names, () => this.#take([this.#input.value], (symbols) => symbols));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take(symbolsIn(this.#input.value), (symbols) => names.known(symbols));
    });
  }

  focus() {
    this.#input.focus();
  }

  /**
   * @param {string[]} typed
   * @param {(symbols: string[]) => string[] | Promise<string[]>} meant makes of what was typed what is meant
   */
  async #take(typed, meant) {
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
        : `\u201c${wrong}\u201d is no symbol: 1 to 64 characters without comma or * at the end, or * for all`;
  }
}

/**
 * What is between commas, semicolons or spaces. A symbol with spaces stands in quotes; one whose spaces are several in a
 * row, as in those of options, need not.
 * @param {string} text
 */
export function symbolsIn(text) {
  const parts = text.match(/"[^"]*"(?=[\s,;]|$)|[^\s,;]+(?: {2,}[^\s,;]+)*/g) ?? [];
  return parts.map((part) => (/^".*"$/.test(part) ? part.slice(1, -1) : part));
}

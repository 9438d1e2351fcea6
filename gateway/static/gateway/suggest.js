// Offers instruments below a field as somebody types: a combobox as ARIA has it.

/** @import { Names } from "./names.js" */
/** @import { Instrument } from "./types.js" */

const WAIT_MS = 80;
// What of the text is being typed: the last of several symbols.
const LAST = /[^\s,;]*$/;

let fields = 0;

export class Suggest {
  #input;
  #names;
  #onPick;
  #list = document.createElement("ul");
  #id = `suggest-${++fields}`;
  /** @type {{ symbol: string, item: HTMLElement }[]} */
  #offers = [];
  #active = -1;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {AbortController | null} */
  #asking = null;

  /**
   * @param {HTMLInputElement} input
   * @param {Pick<Names, "like">} names
   * @param {() => void} [onPick] is told that a symbol was taken into the field
   */
  constructor(input, names, onPick = () => {}) {
    this.#input = input;
    this.#names = names;
    this.#onPick = onPick;
    this.#build();
    input.addEventListener("input", () => this.#askSoon());
    input.addEventListener("keydown", (event) => this.#pressed(event));
    input.addEventListener("blur", () => this.close());
    // Before the field loses the focus to it.
    this.#list.addEventListener("pointerdown", (event) => this.#pointed(event));
  }

  close() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#list.hidden = true;
    this.#offers = [];
    this.#activate(-1);
    this.#input.ariaExpanded = "false";
  }

  #build() {
    this.#list.id = this.#id;
    this.#list.className = "suggest";
    this.#list.hidden = true;
    this.#list.role = "listbox";
    this.#list.ariaLabel = "Instruments";
    this.#input.role = "combobox";
    this.#input.ariaAutoComplete = "list";
    this.#input.ariaExpanded = "false";
    this.#input.setAttribute("aria-controls", this.#id);
    this.#input.after(this.#list);
  }

  #askSoon() {
    this.close();
    const text = this.#typed();
    if (text !== "" && text !== "*") this.#timer = setTimeout(() => this.#ask(text), WAIT_MS);
  }

  #typed() {
    return LAST.exec(this.#input.value)?.[0] ?? "";
  }

  /** @param {string} text */
  async #ask(text) {
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    const found = await this.#names.like(text, signal);
    if (!signal.aborted) this.#show(found, text);
  }

  /**
   * The symbol that was typed in other letters is taken by Enter; what was typed can be had as it is.
   * @param {Instrument[]} found
   * @param {string} text
   */
  #show(found, text) {
    const same = found.findIndex(({ symbol }) => symbol.toLowerCase() === text.toLowerCase());
    if (found.length === 0 || (found.length === 1 && found[0].symbol === text)) return;
    const offers = same >= 0 && found[same].symbol !== text ? [...found, { symbol: text, name: "as typed" }] : found;
    this.#offers = offers.map((offer, index) => ({ symbol: offer.symbol, item: this.#item(offer, index) }));
    this.#list.replaceChildren(...this.#offers.map(({ item }) => item));
    this.#list.hidden = false;
    this.#input.ariaExpanded = "true";
    this.#activate(same >= 0 && found[same].symbol !== text ? same : -1);
  }

  /**
   * @param {Instrument} offer
   * @param {number} index
   */
  #item({ symbol, name }, index) {
    const item = document.createElement("li");
    const strong = document.createElement("strong");
    strong.textContent = symbol;
    item.id = `${this.#id}-${index}`;
    item.role = "option";
    item.append(strong, " ", name);
    return item;
  }

  /** @param {number} index -1: none */
  #activate(index) {
    this.#active = index;
    for (const [at, { item }] of this.#offers.entries()) item.ariaSelected = `${at === index}`;
    if (index < 0) this.#input.removeAttribute("aria-activedescendant");
    else this.#input.setAttribute("aria-activedescendant", this.#offers[index].item.id);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (this.#list.hidden) return;
    const count = this.#offers.length;
    if (event.key === "ArrowDown") this.#activate((this.#active + 1) % count);
    else if (event.key === "ArrowUp") this.#activate((Math.max(this.#active, 0) + count - 1) % count);
    else if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && this.#active >= 0) this.#pick(this.#offers[this.#active].symbol);
    else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #pointed(event) {
    event.preventDefault();
    const item = event.target instanceof Element ? event.target.closest("li") : null;
    const offer = this.#offers.find((one) => one.item === item);
    if (offer !== undefined) this.#pick(offer.symbol);
  }

  /** @param {string} symbol */
  #pick(symbol) {
    this.#input.value = this.#input.value.replace(LAST, () => symbol);
    this.close();
    this.#onPick();
  }
}

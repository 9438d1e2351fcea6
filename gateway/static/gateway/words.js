// The text of an element, changed in place. A text node that is replaced has styles and layout made for it from nothing,
// which costs several times what changing its characters does.

export class Words {
  #node = document.createTextNode("");
  #text = "";

  /** @param {Element} element which has no other text from now on */
  constructor(element) {
    element.replaceChildren(this.#node);
  }

  get text() {
    return this.#text;
  }

  set text(text) {
    if (text === this.#text) return;
    this.#text = text;
    this.#node.data = text;
  }
}

// The form that publishes a tick over HTTP. Numbers go out as the text that was typed: the API takes strings of digits,
// and checks them.

import { field, find } from "./dom.js";

/** @import { Refusal } from "./types.js" */

export class PublishForm {
  #form;
  #result;
  #url;
  #csrfCookie;

  /**
   * @param {HTMLFormElement} form
   * @param {{ url: string, csrfCookie: string }} options where to post, and which cookie holds Django's token
   */
  constructor(form, { url, csrfCookie }) {
    this.#form = form;
    this.#result = find(form, "output", HTMLOutputElement);
    this.#url = url;
    this.#csrfCookie = csrfCookie;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  async #submit() {
    const data = new FormData(this.#form);
    const text = (/** @type {string} */ name) => String(data.get(name) ?? "");
    const size = text("size");
    const tick = { symbol: text("symbol"), price: text("price"), ...(size ? { size } : {}) };
    const button = find(this.#form, "button", HTMLButtonElement);
    this.#clear();
    button.disabled = true;
    try {
      await this.#post(tick, text("key"));
    } catch (error) {
      this.#show("error", `The gateway could not be reached (${error instanceof Error ? error.message : error}).`);
    } finally {
      button.disabled = false;
    }
  }

  /**
   * @param {{ symbol: string, price: string, size?: string }} tick
   * @param {string} key "": none
   */
  async #post(tick, key) {
    const response = await fetch(this.#url, {
      method: "POST",
      headers: this.#headers(key),
      body: JSON.stringify(tick),
    });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) {
      this.#show("ok", `Accepted: ${tick.symbol} at ${tick.price}`);
      field(this.#form, "price").select();
    } else {
      this.#showErrors(answer, `${response.status} ${response.statusText}`.trim());
    }
  }

  /** @param {string} key */
  #headers(key) {
    /** @type {Record<string, string>} */
    const headers = { "Content-Type": "application/json", Accept: "application/json" };
    const token = cookie(this.#csrfCookie);
    if (token) headers["X-CSRFToken"] = token;
    if (key) headers.Authorization = `Api-Key ${key}`;
    return headers;
  }

  /**
   * Shows the errors of a field below it, and what is wrong in general below the form.
   * @param {Refusal} refusal
   * @param {string} status for an answer without a detail
   */
  #showErrors({ detail, errors = [] }, status) {
    for (const { field: name, message } of errors) {
      const place = this.#form.querySelector(`[data-error-of="${CSS.escape(name ?? "")}"]`);
      if (name === null || place === null) continue;
      field(this.#form, name).setAttribute("aria-invalid", "true");
      place.textContent = message;
    }
    const invalid = this.#form.querySelector("[aria-invalid]");
    if (invalid instanceof HTMLInputElement) invalid.focus();
    this.#show("error", detail ?? status);
  }

  /**
   * @param {"ok" | "error" | ""} kind
   * @param {string} text
   */
  #show(kind, text) {
    this.#result.dataset.kind = kind;
    this.#result.textContent = text;
  }

  #clear() {
    this.#show("", "");
    for (const input of this.#form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    for (const place of this.#form.querySelectorAll("[data-error-of]")) place.textContent = "";
  }
}

/** @param {string} name */
function cookie(name) {
  for (const pair of document.cookie.split("; ")) {
    const [key, value] = pair.split("=");
    if (key === name) return decodeURIComponent(value);
  }
  return "";
}

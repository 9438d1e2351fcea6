// The form that publishes a tick over HTTP. Numbers go out as the text that was typed: the API takes strings of digits,
// and checks them.

export class PublishForm {
  #form;
  #result;
  #url;
  #csrfCookie;

  constructor(form, { url, csrfCookie }) {
    this.#form = form;
    this.#result = form.querySelector("output");
    this.#url = url;
    this.#csrfCookie = csrfCookie;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  async #submit() {
    const { symbol, price, size, key } = Object.fromEntries(new FormData(this.#form));
    const tick = { symbol, price, ...(size ? { size } : {}) };
    const button = this.#form.querySelector("button");
    this.#clear();
    button.disabled = true;
    try {
      await this.#post(tick, key);
    } catch (error) {
      this.#show("error", `The gateway could not be reached (${error.message}).`);
    } finally {
      button.disabled = false;
    }
  }

  async #post(tick, key) {
    const response = await fetch(this.#url, { method: "POST", headers: this.#headers(key), body: JSON.stringify(tick) });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) {
      this.#show("ok", `Accepted: ${tick.symbol} at ${tick.price}`);
      this.#form.elements.price.select();
    } else {
      this.#showErrors(answer, `${response.status} ${response.statusText}`.trim());
    }
  }

  #headers(key) {
    const headers = { "Content-Type": "application/json", Accept: "application/json" };
    const token = cookie(this.#csrfCookie);
    if (token) headers["X-CSRFToken"] = token;
    if (key) headers.Authorization = `Api-Key ${key}`;
    return headers;
  }

  // What concerns a field stands under it; the rest, or all of it, under the form.
  #showErrors({ detail, errors = [] }, status) {
    for (const { field, message } of errors) {
      const input = this.#form.elements[field];
      const place = this.#form.querySelector(`[data-error-of="${CSS.escape(field ?? "")}"]`);
      if (!input || !place) continue;
      input.setAttribute("aria-invalid", "true");
      place.textContent = message;
    }
    this.#form.querySelector("[aria-invalid]")?.focus();
    this.#show("error", detail ?? status);
  }

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

function cookie(name) {
  for (const pair of document.cookie.split("; ")) {
    const [key, value] = pair.split("=");
    if (key === name) return decodeURIComponent(value);
  }
  return "";
}

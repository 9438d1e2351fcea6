// The connection's state in words, with the countdown to the next attempt. A connection through which no current prices
// come is not called live.

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
  #state = { name: "connecting" };
  #hasBus = true;

  constructor(element, { retry, signIn, onRetry }) {
    this.#text = element.querySelector("[role=status]");
    this.#countdown = element.querySelector("[data-countdown]");
    this.#retry = retry;
    this.#signIn = signIn;
    retry.addEventListener("click", onRetry);
    setInterval(() => this.#render(), 250);
  }

  show(state) {
    this.#state = state;
    this.#render();
  }

  /** Whether the gateway hears the bus that prices come from. */
  showBus(isConnected) {
    this.#hasBus = isConnected;
    this.#render();
  }

  #render() {
    const { name, refused } = this.#state;
    const waiting = name === "waiting";
    document.body.dataset.connection = this.#name();
    write(this.#text, TEXTS[this.#name()]);
    write(this.#countdown, waiting ? this.#untilRetry() : "");
    this.#retry.hidden = !waiting && name !== "closed";
    if (this.#signIn !== null) this.#signIn.hidden = !refused;
  }

  #name() {
    const { name, refused } = this.#state;
    if (name === "waiting") return refused ? "refused" : "reconnecting";
    return name === "live" && !this.#hasBus ? "stale" : name;
  }

  #untilRetry() {
    const seconds = Math.max(1, Math.ceil((this.#state.retryAt - Date.now()) / 1000));
    return this.#state.refused ? ` \u00b7 next try in ${seconds} s` : ` in ${seconds} s`;
  }
}

// Not writing what stands there already keeps a live region from being announced again.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

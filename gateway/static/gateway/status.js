// The connection's state in words, with the countdown to the next attempt.

export class Status {
  #text;
  #countdown;
  #retry;
  #signIn;
  #state = { name: "connecting" };

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

  #render() {
    const { name, refused } = this.#state;
    const waiting = name === "waiting";
    document.body.dataset.connection = refused ? "refused" : waiting ? "reconnecting" : name;
    const waitingText = refused ? "Refused" : "Reconnecting";
    write(this.#text, waiting ? waitingText : name === "live" ? "Live" : "Connecting\u2026");
    write(this.#countdown, waiting ? this.#untilRetry() : "");
    this.#retry.hidden = !waiting;
    if (this.#signIn !== null) this.#signIn.hidden = !refused;
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

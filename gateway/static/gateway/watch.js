// Looks out for a gateway that was away, while the connection waits for its next attempt: when it answers again there is
// nothing to wait for.

const EVERY_MS = 1_000;
const PATIENCE_MS = 3_000;

export class Watch {
  #isHere;
  #onBack;
  #every;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isAway = false;
  #turn = 0;

  /**
   * @param {() => Promise<boolean>} isHere
   * @param {() => void} onBack the gateway was away, and is here
   */
  constructor(isHere, onBack, every = EVERY_MS) {
    this.#isHere = isHere;
    this.#onBack = onBack;
    this.#every = every;
  }

  start() {
    if (this.#timer !== undefined) return;
    this.#isAway = false;
    this.#lookLater();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#turn += 1;
  }

  #lookLater() {
    this.#timer = setTimeout(() => this.#look(), this.#every);
  }

  async #look() {
    const turn = this.#turn;
    const isHere = await this.#isHere();
    if (turn !== this.#turn) return;
    if (isHere && this.#isAway) {
      this.#isAway = false;
      this.#onBack();
    } else if (!isHere) this.#isAway = true;
    if (turn === this.#turn) this.#lookLater();
  }
}

/**
 * Whether a gateway answers at `url`, with what is no error of a proxy before it.
 * @param {string} url
 */
export async function answers(url) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const response = await fetch(url, { cache: "no-store", signal }).catch(() => null);
  return response !== null && response.status < 500;
}

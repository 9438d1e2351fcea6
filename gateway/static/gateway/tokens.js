// Tokens of a WebSocket: shown in its handshake as a subprotocol, since a script can set no headers, and replaced on the
// open connection before it ends.

const SUBPROTOCOL = "marketmux";
// After this part of its time a token is replaced; and how long to wait, in ms, before trying again.
const EARLY = 0.75;
const LEAST_MS = 1_000;

/** @typedef {() => Promise<string>} TokenSource gives another token each time */

/**
 * The subprotocols of a handshake.
 * @param {TokenSource | undefined} source without one, no token is shown
 * @returns {Promise<string[]>}
 */
export async function subprotocols(source) {
  return source === undefined ? [] : [SUBPROTOCOL, `${SUBPROTOCOL}.token.${await source()}`];
}

/** Replaces the token of a connection before it ends. */
export class Refresher {
  #source;
  #send;
  #clock;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {TokenSource | undefined} source
   * @param {(command: { action: "auth", token: string }) => void} send
   * @param {() => number} clock
   */
  constructor(source, send, clock = Date.now) {
    this.#source = source;
    this.#send = send;
    this.#clock = clock;
  }

  /**
   * The connection ends then, as `welcome` or `auth` says; undefined: it does not by itself.
   * @param {string} [expiresAt]
   */
  expect(expiresAt) {
    this.stop();
    if (this.#source === undefined || expiresAt === undefined) return;
    const left = Date.parse(expiresAt) - this.#clock();
    this.#timer = setTimeout(() => this.#replace(expiresAt), Math.max(LEAST_MS, left * EARLY));
  }

  /** The connection has ended. */
  stop() {
    clearTimeout(this.#timer);
  }

  /** @param {string} expiresAt */
  async #replace(expiresAt) {
    // Until the answer says when that one ends, as it will not if it is refused.
    this.expect(expiresAt);
    const token = await this.#source?.().catch(() => undefined);
    if (token !== undefined) this.#send({ action: "auth", token });
  }
}

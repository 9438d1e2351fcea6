// Where tokens come from: a string, or a function that is asked for one before each connection and before one ends.

import { text } from "./arguments.ts";

/** A token, or a function that gives another one each time. */
export type Token = string | (() => string | Promise<string>);

/** The subprotocol of the gateway. A script in a browser can set no headers, so the token stands beside it. */
export const SUBPROTOCOL = "marketmux";

const PATIENCE_MS = 10_000;
// After this part of its time a token is replaced.
const EARLY = 0.75;
// Between attempts to replace it; and the longest that a timer runs.
const LEAST_MS = 1_000;
const LONGEST_MS = 2 ** 31 - 1;

/** A subprotocol is a token of HTTP. */
const FITS = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The tokens of one client. */
export class Tokens {
  #token;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;
  #giveUp: (() => void) | null = null;

  constructor(token: Token | undefined) {
    if (token !== undefined && typeof token !== "function") fitting(token);
    this.#token = token;
  }

  /** The next token to show, undefined if there are none. Rejects where none is to be had. */
  async next(): Promise<string | undefined> {
    if (typeof this.#token !== "function") return this.#token;
    return fitting(await this.#patiently(this.#token()));
  }

  /**
   * Replaces the token of a connection before it ends. `show` sends one, and gives when that one ends; null: it does not
   * by itself.
   */
  keepFresh(expiresAt: string | null, show: (token: string) => Promise<string | null>): void {
    this.stop();
    if (expiresAt === null || typeof this.#token !== "function") return;
    const turn = this.#turn;
    const left = Date.parse(expiresAt) - Date.now();
    this.#timer = setTimeout(
      async () => {
        // Until the answer says when that one ends, as it will not if it is refused.
        const ends = await this.#replace(show).catch(() => expiresAt);
        if (turn === this.#turn) this.keepFresh(ends, show);
      },
      Math.min(LONGEST_MS, Math.max(LEAST_MS, left * EARLY)),
    );
  }

  /** The connection, or the client, has ended. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#giveUp?.();
  }

  async #patiently(token: string | Promise<string>): Promise<string> {
    const late = new Promise<never>((_, reject) => {
      this.#giveUp = () => reject(new Error("no token in time"));
    });
    const timer = setTimeout(this.#giveUp as () => void, PATIENCE_MS);
    try {
      return await Promise.race([token, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #replace(show: (token: string) => Promise<string | null>): Promise<string | null> {
    return show((await this.next()) as string);
  }
}

function fitting(token: unknown): string {
  if (!FITS.test(text("a token", token))) throw new RangeError("a token has no such characters");
  return token as string;
}

// How long to wait before connecting again. All times in seconds.

import { atLeast } from "./arguments.ts";

/** `base` and `cap`: the first bound and the last. `lasting`: see Backoff. `random`: from 0 to 1. */
export interface BackoffOptions {
  readonly base?: number;
  readonly cap?: number;
  readonly lasting?: number;
  readonly random?: () => number;
}

/**
 * Exponential backoff with full jitter: anything between 0 and a bound that doubles with each attempt.
 *
 * `lasting`: how long a connection must have lasted for the next to begin at `base` again. One that is closed as soon as
 * it is there does not count, or a gateway that accepts and closes would be stormed.
 */
export class Backoff {
  #base;
  #cap;
  #lasting;
  #random;
  #bound;

  constructor({ base = 0.5, cap = 30, lasting = 10, random = Math.random }: BackoffOptions = {}) {
    this.#base = this.#bound = atLeast(0.001, "base", base);
    this.#cap = atLeast(base, "cap", cap);
    this.#lasting = atLeast(0, "lasting", lasting);
    this.#random = random;
  }

  /** How long to wait before the next attempt. */
  next(): number {
    const bound = this.#bound;
    this.#bound = Math.min(this.#cap, 2 * bound);
    return this.#random() * bound;
  }

  /** A connection has ended that lasted so long. */
  ended(after: number): void {
    if (after >= this.#lasting) this.reset();
  }

  /** There is a reason to try soon. */
  reset(): void {
    this.#bound = this.#base;
  }
}

/** How long refusals are borne. A proxy that reloads, or a rotated key, refuses a client that will be welcome again. */
export class Refusals {
  #limit;
  #clock;
  #began: number | null = null;
  #wasWelcomed = false;

  /** `limit`: so much of nothing but refusals, for a client that was welcomed before; Infinity for any client. */
  constructor(limit: number, clock: () => number) {
    this.#limit = limit;
    this.#clock = clock;
  }

  welcomed(): void {
    this.#wasWelcomed = true;
    this.interrupted();
  }

  /** An attempt ended in another way. */
  interrupted(): void {
    this.#began = null;
  }

  /** Notes a refusal; returns for how long there is still use in trying again. */
  left(): number {
    if (!this.#wasWelcomed && this.#limit < Infinity) return 0;
    const now = this.#clock();
    this.#began ??= now;
    return Math.max(0, this.#began + this.#limit - now);
  }
}

// One WebSocket that comes back: exponential backoff with full jitter, and pings that notice a connection that died
// without a word.

const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 30_000;
const CONNECT_TIMEOUT_MS = 10_000;
const PING_INTERVAL_MS = 10_000;
const PONG_TIMEOUT_MS = 10_000;
// A connection that lasted this long starts the backoff over; one that is closed at once, again and again, does not.
const STABLE_MS = 10_000;

/** How long to wait before attempt number `attempt` (0, 1, ...), in ms: anything up to a bound that doubles. */
export function backoff(attempt, random = Math.random) {
  return random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (attempt + 1));
}

/**
 * Handlers: `onState({name, ...})` with name "connecting", "live" or "waiting" (then `retryAt` in ms of the wall clock,
 * `refused`, `code` and `reason`); `onMessage(text)`; `ping()` sends a ping; `wasRefused()` resolves to whether a
 * handshake that failed was refused by a gateway that is up, which the browser does not tell.
 */
export class Connection {
  #url;
  #handlers;
  #socket = null;
  #attempt = 0;
  #retry = null;
  #startedAt = 0;
  #liveAt = 0;
  #pingedAt = 0;
  #awaitingPong = false;

  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    setInterval(() => this.#watch(), 1_000);
    window.addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  open() {
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#startedAt = performance.now();
    this.#liveAt = 0;
    this.#awaitingPong = false;
    this.#handlers.onState({ name: "connecting" });
    const socket = new WebSocket(this.#url);
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#socket = socket;
  }

  /** Ends the wait for the next attempt, if one is under way. */
  retryNow() {
    if (this.#retry !== null) this.open();
  }

  get live() {
    return this.#liveAt > 0;
  }

  /** Sends `value` as JSON; false if there is no connection to send it on. */
  send(value) {
    if (!this.live || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(value));
    return true;
  }

  #received(text) {
    // Whatever arrives proves that the other side is there.
    this.#awaitingPong = false;
    if (!this.live) {
      this.#liveAt = performance.now();
      this.#ping();
      this.#handlers.onState({ name: "live" });
    }
    this.#handlers.onMessage(text);
  }

  // Timers of a hidden page may run once a minute only, so silence counts from a ping that was really sent.
  #watch() {
    if (this.#socket === null) return;
    const now = performance.now();
    if (!this.live) {
      if (now - this.#startedAt > CONNECT_TIMEOUT_MS) this.#abandon("no answer to the handshake");
    } else if (this.#awaitingPong) {
      if (now - this.#pingedAt > PONG_TIMEOUT_MS) this.#abandon("no answer to a ping");
    } else if (now - this.#pingedAt > PING_INTERVAL_MS) {
      this.#ping();
    }
  }

  #ping() {
    this.#pingedAt = performance.now();
    this.#awaitingPong = true;
    this.#handlers.ping();
  }

  // Closing a dead connection can take the browser minutes: it is left to that, and not listened to any more.
  #abandon(reason) {
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.close();
    this.#lost(1006, reason);
  }

  #lost(code, reason) {
    const wasLive = this.live;
    if (wasLive && performance.now() - this.#liveAt > STABLE_MS) this.#attempt = 0;
    const delay = backoff(this.#attempt++);
    this.#socket = null;
    this.#liveAt = 0;
    this.#retry = setTimeout(() => this.open(), delay);
    const state = { name: "waiting", retryAt: Date.now() + delay, refused: false, wasLive, code, reason };
    this.#handlers.onState(state);
    if (!wasLive) this.#askWhetherRefused(state, this.#retry);
  }

  async #askWhetherRefused(state, retry) {
    const refused = await this.#handlers.wasRefused();
    if (refused && this.#retry === retry) this.#handlers.onState({ ...state, refused });
  }
}

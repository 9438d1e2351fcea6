// One WebSocket that comes back: exponential backoff with full jitter, unless the server says that there is no point, and
// probes that notice a connection that died without a word.

const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 30_000;
const CONNECT_TIMEOUT_MS = 10_000;
const PING_INTERVAL_MS = 10_000;
// How long nothing may come before it is asked for, and then again before the connection is given up: so many heartbeats,
// but no less than a slow network needs; the last is for a server without heartbeats.
const MISSED_HEARTBEATS = 3;
const LEAST_SILENCE_MS = 3_000;
const SILENCE_MS = 10_000;
// A connection that lasted this long starts the backoff over; one that is closed at once, again and again, does not.
const STABLE_MS = 10_000;
const WATCH_MS = 1_000;
const WORTH_A_TRY = { reconnect: true, wait: 0 };

/** How long to wait before attempt number `attempt` (0, 1, ...), in ms: anything up to a bound that doubles. */
export function backoff(attempt, random = Math.random) {
  return random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (attempt + 1));
}

/**
 * Handlers: `onState({name, ...})` with name "connecting"; "live" (`again` after "silent"); "silent" when nothing came for
 * too long, nor at once after a ping; "waiting" (then `retryAt` in ms of the wall clock, `refused`, `wasLive`, `code` and `reason`); or "closed",
 * when connecting again is pointless (`wasLive`, `code` and `reason`). `onMessage(text)`; `ping()` sends a ping;
 * `wasRefused()` resolves to whether a handshake that failed was refused by a gateway that is up, which the browser does
 * not tell. `closures` says of close codes whether to `reconnect` and after how many seconds of `wait` at least.
 */
export class Connection {
  #url;
  #handlers;
  #closures;
  #socket = null;
  #attempt = 0;
  #retry = null;
  #notBefore = 0;
  #startedAt = 0;
  #liveAt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #silence = SILENCE_MS;
  #awaitingPong = false;
  #silent = false;
  #lookedAt = 0;
  #late = false;
  #announced = null;

  constructor(url, closures, handlers) {
    this.#url = url;
    this.#closures = closures;
    this.#handlers = handlers;
    setInterval(() => this.#look(), WATCH_MS);
    window.addEventListener("online", () => this.#waiting && this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || !this.#waiting || this.retryNow());
  }

  open() {
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#startedAt = performance.now();
    this.#liveAt = 0;
    this.#silence = SILENCE_MS;
    this.#awaitingPong = this.#silent = false;
    this.#announced = null;
    this.#handlers.onState({ name: "connecting" });
    const socket = new WebSocket(this.#url);
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#socket = socket;
  }

  /** Ends the wait for the next attempt, or starts one after all; not before the server wanted it. */
  retryNow() {
    const mayOpen = !this.#waiting || performance.now() >= this.#notBefore;
    if (this.#socket === null && mayOpen) this.open();
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

  /** The server sends something every so many seconds at least; 0: it need not. */
  expectHeartbeats(seconds) {
    this.#silence = seconds > 0 ? Math.max(LEAST_SILENCE_MS, MISSED_HEARTBEATS * seconds * 1_000) : SILENCE_MS;
  }

  /** The server is about to close: whether to `reconnect`, and after how many seconds of `wait` at least. */
  expectClose({ reconnect, wait }) {
    this.#announced = { reconnect, wait };
  }

  get #waiting() {
    return this.#retry !== null;
  }

  #received(text) {
    // Whatever arrives proves that the other side is there.
    this.#heardAt = performance.now();
    this.#awaitingPong = false;
    if (!this.live) {
      this.#liveAt = this.#heardAt;
      this.#ping();
      this.#handlers.onState({ name: "live" });
    } else if (this.#silent) {
      this.#silent = false;
      this.#handlers.onState({ name: "live", again: true });
    }
    this.#handlers.onMessage(text);
  }

  // When the page was busy, or the machine asleep, messages may wait behind this timer: they go first.
  #look() {
    const now = performance.now();
    this.#late = !this.#late && now - this.#lookedAt > 2 * WATCH_MS;
    this.#lookedAt = now;
    if (!this.#late && this.#socket !== null) this.#watch(now);
  }

  // Timers of a hidden page may run once a minute only: so silence only makes a ping, and the end counts from a ping that
  // was really sent.
  #watch(now) {
    const isQuiet = now - this.#heardAt > this.#silence;
    if (!this.live) {
      if (now - this.#startedAt > CONNECT_TIMEOUT_MS) this.#abandon("no answer to the handshake");
    } else if (!this.#awaitingPong) {
      if (isQuiet || now - this.#pingedAt > PING_INTERVAL_MS) this.#ping();
    } else if (now - this.#pingedAt > this.#silence) {
      this.#abandon("no answer to a ping");
    } else if (isQuiet && !this.#silent) {
      this.#silent = true;
      this.#handlers.onState({ name: "silent" });
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
    this.#socket = null;
    this.#liveAt = 0;
    const { reconnect, wait } = this.#announced ?? this.#closures[code] ?? WORTH_A_TRY;
    this.#notBefore = performance.now() + wait * 1_000;
    if (reconnect) this.#retryLater(wait, { wasLive, code, reason });
    else this.#handlers.onState({ name: "closed", wasLive, code, reason });
  }

  #retryLater(wait, { wasLive, code, reason }) {
    const delay = wait * 1_000 + backoff(this.#attempt++);
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

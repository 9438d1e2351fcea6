// A WebSocket that reconnects, with exponential backoff and full jitter, unless the server says that there is no point.
// Probes notice a connection that died without a close.

import { Refresher, subprotocols } from "./tokens.js";

/** @import { TokenSource } from "./tokens.js" */
/** @import { Closure, ConnectionState, Loss } from "./types.js" */

const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 30_000;
const CONNECT_TIMEOUT_MS = 10_000;
const PING_INTERVAL_MS = 10_000;
// How long the server may be silent before it is pinged, and again before the connection is given up: so many heartbeats,
// but no less than a slow network needs. SILENCE_MS is for a server without heartbeats.
const MISSED_HEARTBEATS = 3;
const LEAST_SILENCE_MS = 3_000;
const SILENCE_MS = 10_000;
// A connection that lasted this long starts the backoff over. One that is closed at once, again and again, does not.
const STABLE_MS = 10_000;
const WATCH_MS = 1_000;
// What a refused handshake waits for changes by somebody's doing. Where it is for too many of them, each one counts.
const REFUSED_MS = 5_000;
// What a browser says of a handshake that did not lead to a connection, whatever the server answered.
const UNKNOWN = 1006;
const WORTH_A_TRY = { reconnect: true, wait: 0 };

/**
 * How long to wait before the next attempt, in ms: a random part of a bound that doubles.
 * @param {number} attempt 0, 1, ...
 * @param {() => number} random from 0 to 1
 */
export function backoff(attempt, random = Math.random) {
  return random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (attempt + 1));
}

/**
 * `onState` is told of "connecting"; of "live", with `again` after "silent"; of "silent", when nothing came for too long
 * and a ping was not answered at once; of "waiting", for the next attempt; and of "closed", when there will be none.
 * `ping` sends a ping. `wasRefused` resolves to whether a handshake that failed was refused by a gateway that is up, which
 * the browser does not tell.
 * @typedef {object} ConnectionHandlers
 * @property {(state: ConnectionState) => void} onState
 * @property {(text: string) => void} onMessage
 * @property {() => void} ping
 * @property {() => Promise<boolean>} wasRefused
 */

/** @typedef {ReturnType<typeof setTimeout>} Timer */

export class Connection {
  #url;
  #handlers;
  #closures;
  #token;
  #refresher;
  #opening = 0;
  /** @type {WebSocket | null} */
  #socket = null;
  #attempt = 0;
  /** @type {Timer | undefined} */
  #retry;
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
  /** @type {Closure | null} */
  #announced = null;

  /**
   * @param {URL} url
   * @param {Record<string, Closure>} closures by close code, for a server that did not announce the close
   * @param {ConnectionHandlers} handlers
   * @param {TokenSource} [token] is asked for a token before each attempt, and before a connection ends by itself;
   *   without one the browser shows the cookies of the session
   */
  constructor(url, closures, handlers, token) {
    this.#token = token;
    this.#refresher = new Refresher(token, (command) => this.send(command));
    this.#url = url;
    this.#closures = closures;
    this.#handlers = handlers;
    setInterval(() => this.#look(), WATCH_MS);
    window.addEventListener("online", () => this.wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
  }

  open() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#startedAt = performance.now();
    this.#liveAt = 0;
    this.#silence = SILENCE_MS;
    this.#awaitingPong = this.#silent = false;
    this.#announced = null;
    this.#handlers.onState({ name: "connecting" });
    if (this.#token === undefined) this.#connect([]);
    else this.#connectWithToken();
  }

  async #connectWithToken() {
    const opening = ++this.#opening;
    const offered = await subprotocols(this.#token).catch(() => null);
    if (opening !== this.#opening || this.#socket !== null) return;
    if (offered === null) this.#lost(UNKNOWN, "no token to be had");
    else this.#connect(offered);
  }

  /** @param {string[]} offered subprotocols */
  #connect(offered) {
    const socket = new WebSocket(this.#url, offered);
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#socket = socket;
  }

  /** Attempts to connect now, but not before the time that the server named. */
  retryNow() {
    const mayOpen = !this.#waiting || performance.now() >= this.#notBefore;
    if (this.#socket === null && mayOpen) this.open();
  }

  /**
   * Something is back that was away: the network, the visitor or the gateway. There is nothing to wait for, and what seems to
   * be a connection may be none any more.
   */
  wake() {
    if (this.live && !this.#awaitingPong) this.#ping();
    else if (this.#waiting) {
      this.#attempt = 0;
      this.retryNow();
    }
  }

  get live() {
    return this.#liveAt > 0;
  }

  /**
   * Sends `value` as JSON; false if there is no connection to send it on.
   * @param {object} value
   */
  send(value) {
    if (!this.live || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(value));
    return true;
  }

  /**
   * The server sends something at least this often.
   * @param {number} seconds 0: it does not
   */
  expectHeartbeats(seconds) {
    this.#silence = seconds > 0 ? Math.max(LEAST_SILENCE_MS, MISSED_HEARTBEATS * seconds * 1_000) : SILENCE_MS;
  }

  /**
   * The server closes then, unless it is shown another token before; undefined: it does not.
   * @param {string} [at]
   */
  expectExpiry(at) {
    this.#refresher.expect(at);
  }

  /**
   * The server is about to close, and says what to do then.
   * @param {Closure} closure
   */
  expectClose({ reconnect, wait }) {
    this.#announced = { reconnect, wait };
  }

  get #waiting() {
    return this.#retry !== undefined;
  }

  /** @param {string} text */
  #received(text) {
    // Any message proves that the server is there.
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

  // After the page was busy, or the machine asleep, messages may be queued behind this timer: they are read first.
  #look() {
    const now = performance.now();
    this.#late = !this.#late && now - this.#lookedAt > 2 * WATCH_MS;
    this.#lookedAt = now;
    if (!this.#late && this.#socket !== null) this.#watch(now);
  }

  /**
   * The timers of a hidden page may run only once a minute. So silence only causes a ping, and the time to give up counts
   * from when that was sent.
   * @param {number} now
   */
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

  /**
   * Gives the connection up without waiting for its close, which can take the browser minutes.
   * @param {string} reason
   */
  #abandon(reason) {
    if (this.#socket === null) return;
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.close();
    this.#lost(UNKNOWN, reason);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    const wasLive = this.live;
    this.#refresher.stop();
    if (wasLive && performance.now() - this.#liveAt > STABLE_MS) this.#attempt = 0;
    this.#socket = null;
    this.#liveAt = 0;
    const { reconnect, wait } = this.#announced ?? this.#closures[code] ?? WORTH_A_TRY;
    this.#notBefore = performance.now() + wait * 1_000;
    if (reconnect) this.#retryLater(wait, { wasLive, code, reason });
    else this.#handlers.onState({ name: "closed", wasLive, code, reason });
  }

  /**
   * @param {number} wait at least this many seconds
   * @param {Loss} loss
   */
  #retryLater(wait, { wasLive, code, reason }) {
    const saysWhy = !wasLive && code !== UNKNOWN;
    const retry = this.#openIn(wait * 1_000 + backoff(this.#attempt++), { refused: saysWhy, wasLive, code, reason });
    if (!wasLive && !saysWhy) this.#askWhetherRefused({ refused: true, wasLive, code, reason }, retry);
  }

  /**
   * @param {number} delay in ms
   * @param {Loss & { refused: boolean }} loss
   */
  #openIn(delay, loss) {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.open(), delay);
    this.#handlers.onState({ name: "waiting", retryAt: Date.now() + delay, ...loss });
    return this.#retry;
  }

  /**
   * @param {Loss & { refused: boolean }} loss
   * @param {Timer} retry the attempt that is waited for meanwhile
   */
  async #askWhetherRefused(loss, retry) {
    const refused = await this.#handlers.wasRefused();
    if (refused && this.#retry === retry) this.#openIn(REFUSED_MS + backoff(this.#attempt), loss);
  }
}

// A gateway whose every word the test decides, in place of a WebSocket.

import { Client } from "../src/index.ts";

export const EPOCH = "5f3a9c1e";

const LIMITS = { symbols: 1000, message_bytes: 65_536, commands_per_second: 100 };

/** The gateway's side of one connection. */
export class Peer {
  readyState = 1;
  onmessage = null;
  onclose = null;
  onerror = null;
  isClosed = false;
  #commands = [];
  #waiting = null;

  constructor(gateway, url, protocols) {
    this.url = url;
    this.protocols = protocols;
    gateway.accept(this);
  }

  send(text) {
    this.#commands.push(JSON.parse(text));
    this.#waiting?.();
  }

  close() {
    this.isClosed = true;
  }

  /** What the client has sent and the test has not looked at. */
  get unread() {
    return this.#commands.length;
  }

  /** The client's next command. */
  async command() {
    while (this.#commands.length === 0) {
      await new Promise((resolve) => {
        this.#waiting = resolve;
      });
    }
    return this.#commands.shift();
  }

  say(...messages) {
    for (const message of messages) {
      this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) });
    }
  }

  /** Takes a subscription and acknowledges it; a symbol's position is 1041 unless given. */
  async subscribe(positions = {}, more = {}) {
    const command = await this.command();
    const named = command.symbols.filter((symbol) => symbol !== "*");
    const places = Object.fromEntries(named.map((symbol) => [symbol, place(1041)]));
    this.answer(command, { positions: { ...places, ...positions }, ...more });
    return command;
  }

  answer(command, fields) {
    this.say({ type: `${command.action}d`, symbols: command.symbols, id: command.id, ...fields });
  }

  error(command, code, more = {}) {
    this.say({ type: "error", code, message: "No.", id: command.id, ...more });
  }

  end(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

export class Gateway {
  welcome = {};
  /** How the next handshakes end: a close code each. */
  refusals = [];
  handshakes = 0;
  #peers = [];
  #waiting = null;

  /** A constructor of sockets that lead here. */
  get WebSocket() {
    const gateway = this;
    return class extends Peer {
      constructor(url, protocols) {
        super(gateway, url, protocols);
      }
    };
  }

  accept(peer) {
    this.handshakes += 1;
    const code = this.refusals.shift();
    queueMicrotask(() => {
      if (code !== undefined) return peer.end(code);
      peer.say({ type: "welcome", version: "0.1.0", limits: LIMITS, heartbeat: 10, ...this.welcome });
      this.#peers.push(peer);
      this.#waiting?.();
    });
  }

  /** The next connection that was welcomed. */
  async peer() {
    while (this.#peers.length === 0) {
      await new Promise((resolve) => {
        this.#waiting = resolve;
      });
    }
    return this.#peers.shift();
  }

  client(options = {}) {
    const backoff = { base: 0.001, cap: 0.001, random: () => 0 };
    return new Client("ws://gateway/ws", { WebSocket: this.WebSocket, backoff, ...options });
  }
}

export const place = (seq, recovered, epoch = EPOCH) => ({
  seq,
  epoch,
  ...(recovered === undefined ? {} : { recovered }),
});

export const tick = (seq, symbol = "AAPL", more = "") =>
  `{"type":"tick","symbol":"${symbol}","price":150.250,"timestamp":"2026-05-12T15:04:05.123456789Z","seq":${seq}${more}}`;

export const snapshot = (seq, symbol = "AAPL", epoch = EPOCH) => ({
  type: "snapshot",
  symbol,
  price: 150,
  timestamp: "2026-05-12T15:04:05Z",
  seq,
  epoch,
});

/** What a client says, as it says it: short for ticks and snapshots. */
export function heard(client) {
  const events = [];
  client.on("event", (event) => events.push("price" in event ? event.seq : event));
  return events;
}

/** Lets everything happen that waits for nothing but its turn. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

export async function until(condition) {
  for (let turns = 0; !condition(); turns += 1) {
    if (turns > 20_000) throw new Error("it never came to that");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

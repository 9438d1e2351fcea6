// One connection, from the handshake to its end.

import { Budget } from "./budget.ts";
import { type Closure, closure, LOST } from "./closures.ts";
import { encode } from "./commands.ts";
import { BadMessage, CommandRefused } from "./errors.ts";
import { decode, float, floatOr, type Message, string, stringOr, strings } from "./messages.ts";

const MISSED_HEARTBEATS = 2;
// Seconds that a slow network may add to them.
const MARGIN = 1;
// How long a gateway without heartbeats may say nothing before it is asked, and then again before it is given up.
const SILENCE = 10;
// How often silence is looked for while it lasts.
const LOOKS = 4;

/** Of a WebSocket what is used; that of a browser, of Node, or of the package ws. */
export interface Socket {
  readonly readyState: number;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  send(data: string): void;
  close(): void;
}

/** The connection has ended, so what waited for it will not come. */
export class Lost extends Error {}

/** How a handshake that led to no connection ended. */
export class NotConnected extends Error {
  readonly closure: Closure;

  constructor(closure: Closure) {
    super(closure.reason);
    this.closure = closure;
  }
}

export const now = (): number => performance.now() / 1_000;

type Settle = (message: Message) => void;

/** Whom a session tells. */
export interface SessionHandlers {
  /** Of a session that has been welcomed, before anything behind that is read: one read may bring it all. */
  onWelcome(session: Session): void;
  /** Of each message behind the welcome. What it throws ends the connection. */
  onMessage(message: Message): void;
  /** Of whether the gateway is heard: false when nothing came for so long that it will be given up. */
  onHeard(isHeard: boolean): void;
  /** When it should be asked for a sign of life. */
  onQuiet(): void;
}

/** A connection that has been welcomed. Commands are sent one at a time (`ask`). */
export class Session {
  readonly version: string;
  readonly messageBytes: number;
  /** When the connection ends by itself, unless another token is shown before: RFC 3339 in UTC. */
  readonly expiresAt: string | null;
  /** How the connection ended, when it has. Rejects with what `onMessage` threw. */
  readonly ended: Promise<Closure>;
  #socket;
  #handlers;
  #heartbeat;
  #budget;
  #lastId = 0;
  #settle: Settle | null = null;
  #refuse: ((error: CommandRefused) => void) | null = null;
  #announced: Closure | null = null;
  #isOver = false;
  #finish!: (closure: Closure) => void;
  #fail!: (error: unknown) => void;
  #interrupt: (() => void) | null = null;
  #quietLooks = 0;
  #looker;

  /**
   * Connects with `make`, and resolves with what the gateway's first message is. Rejects with NotConnected, or BadMessage
   * if this is no gateway.
   */
  static open(
    make: () => Socket,
    handlers: SessionHandlers,
    patienceMs: number,
    signal: AbortSignal,
  ): Promise<Session> {
    return new Promise((resolve, reject) => {
      const socket = make();
      const fail = (error: Error) => {
        settled();
        shut(socket);
        reject(error);
      };
      const lost = (code: number, reason: string) => fail(new NotConnected(closure(code, reason)));
      const giveUp = () => lost(LOST, "no answer");
      const timer = setTimeout(giveUp, patienceMs);
      const settled = () => {
        clearTimeout(timer);
        signal.onabort = null;
      };
      signal.onabort = giveUp;
      socket.onerror = () => {}; // its close says what there is to say
      socket.onclose = ({ code, reason }) => lost(code, reason);
      socket.onmessage = ({ data }) => {
        const session = Session.#welcomed(socket, data, handlers);
        if (session === null) return fail(new BadMessage(beginning(data)));
        settled();
        handlers.onWelcome(session);
        resolve(session);
      };
    });
  }

  static #welcomed(socket: Socket, data: unknown, handlers: SessionHandlers): Session | null {
    try {
      return new Session(socket, decode(data), handlers);
    } catch {
      return null;
    }
  }

  private constructor(socket: Socket, welcome: Message, handlers: SessionHandlers) {
    const limits = welcome.limits as Record<string, unknown>;
    if (welcome.type !== "welcome") throw new TypeError("no welcome");
    this.version = string(welcome.version);
    this.messageBytes = float(limits.message_bytes);
    this.expiresAt = stringOr(welcome.expires_at, null);
    this.#heartbeat = floatOr(welcome.heartbeat, 0);
    this.#budget = new Budget(float(limits.commands_per_second), now);
    this.#socket = socket;
    this.#handlers = handlers;
    this.ended = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
    this.ended.catch(() => {});
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#end(this.#announced ?? closure(code, reason));
    this.#looker = setInterval(() => this.#look(), (1_000 * this.#silence) / LOOKS);
  }

  /**
   * Sends a command and resolves when it has been answered. `settle` is called with the answer before anything that
   * follows it is read. Rejects with CommandRefused, or Lost.
   */
  async ask(fields: Readonly<Record<string, unknown>>, settle: Settle): Promise<void> {
    await this.sleep(this.#budget.spend());
    const id = ++this.#lastId;
    try {
      await this.wait<void>((resolve, reject) => {
        this.#settle = (message) => {
          settle(message);
          resolve();
        };
        this.#refuse = reject;
        this.#socket.send(encode({ ...fields, id }));
      });
    } finally {
      this.#settle = this.#refuse = null;
    }
  }

  /** Takes an answer or an error. One that could not be read as far as its id was refused has none. */
  answered(message: Message): void {
    const id = floatOr(message.id, null);
    if (message.type === "error") {
      if (id === null || id === this.#lastId) this.#refuse?.(refusal(message));
    } else if (id === this.#lastId) this.#settle?.(message);
  }

  /** Takes the announcement of the close that follows. */
  closing(message: Message): void {
    const { code, reason, reconnect, wait } = message;
    this.#announced = { code: float(code), reason: string(reason), reconnect: Boolean(reconnect), wait: float(wait) };
  }

  /** Waits, for as long as there is the connection; one at a time. Rejects with Lost when it ends. */
  async wait<T>(begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    try {
      return await new Promise<T>((resolve, reject) => {
        if (this.#isOver) throw new Lost();
        this.#interrupt = () => reject(new Lost());
        begin(resolve, reject);
      });
    } finally {
      this.#interrupt = null;
    }
  }

  async sleep(seconds: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (seconds > 0) {
      await this.wait<void>((resolve) => {
        timer = setTimeout(resolve, 1_000 * seconds);
      }).finally(() => clearTimeout(timer));
    }
  }

  /** The connection may have died unseen, as after a change of networks: if nothing comes now it is soon given up. */
  suspect(): void {
    if (this.#isOver || this.#quietLooks >= LOOKS) return;
    this.#quietLooks = LOOKS - 1;
    this.#handlers.onQuiet();
  }

  /** Closes it, without waiting for the other side, which may take minutes. */
  close(code: number, reason: string): void {
    this.#end(closure(code, reason));
  }

  fail(error: unknown): void {
    this.#fail(error);
    this.close(LOST, "");
  }

  #received(data: unknown): void {
    if (this.#quietLooks >= LOOKS) this.#handlers.onHeard(true);
    this.#quietLooks = 0;
    try {
      this.#handlers.onMessage(decode(data));
    } catch (error) {
      const isBad = error instanceof TypeError || error instanceof SyntaxError;
      this.fail(isBad ? new BadMessage(beginning(data)) : error);
    }
  }

  #end(closure: Closure): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#looker);
    shut(this.#socket);
    this.#finish(closure);
    this.#interrupt?.();
  }

  get #silence(): number {
    return this.#heartbeat > 0 ? MISSED_HEARTBEATS * this.#heartbeat + MARGIN : SILENCE;
  }

  /**
   * Silence is counted in looks, not read off a clock: a process that was stopped for a minute has looked once, and what
   * came meanwhile is read before it looks again.
   */
  #look(): void {
    this.#quietLooks += 1;
    if (this.#quietLooks > LOOKS * (this.#heartbeat > 0 ? 1 : 2)) {
      const seconds = (this.#quietLooks * this.#silence) / LOOKS;
      this.close(LOST, `nothing came for ${Math.round(seconds)} s`);
    } else if (this.#quietLooks === LOOKS) {
      this.#handlers.onHeard(false);
      if (this.#heartbeat <= 0) this.#handlers.onQuiet();
    }
  }
}

const beginning = (data: unknown) => String(data).slice(0, 200);

function shut(socket: Socket): void {
  socket.onmessage = socket.onclose = null;
  socket.close();
}

function refusal(message: Message): CommandRefused {
  return new CommandRefused({
    code: string(message.code),
    message: string(message.message),
    symbols: strings(message.symbols),
    reason: stringOr(message.reason, ""),
    retryAfter: floatOr(message.retry_after, null),
  });
}

// What goes wrong for good. What can come right again is no exception: the client goes on, and says so by events.

/** What every exception of the client is. */
export class ClientError extends Error {
  override name = "ClientError";
}

/** There is no connecting with this URL and token. `status`: of HTTP, null where the platform does not tell it. */
export class Refused extends ClientError {
  override name = "Refused";
  readonly status: number | null;
  readonly reason: string;

  constructor(status: number | null, reason: string) {
    super(`refused: ${reason}`);
    this.status = status;
    this.reason = reason;
  }
}

/** The gateway closed the connection with a code after which connecting again is pointless. */
export class ClosedForGood extends ClientError {
  override name = "ClosedForGood";
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string) {
    super(`closed for good: ${code} ${reason}`.trimEnd());
    this.code = code;
    this.reason = reason;
  }
}

/** What the gateway says of a command that it did not carry out. */
export interface Refusal {
  /** As in the protocol's table of error codes. */
  readonly code: string;
  readonly message: string;
  readonly symbols?: readonly string[];
  /** Why, of `bus_unavailable`; else empty. */
  readonly reason?: string;
  /** Seconds after which it may be asked again, null where that is no use or was not said. */
  readonly retryAfter?: number | null;
}

/** The gateway did not carry out a command. */
export class CommandRefused extends ClientError {
  override name = "CommandRefused";
  readonly code: string;
  symbols: readonly string[];
  readonly reason: string;
  readonly retryAfter: number | null;
  /** What the gateway says, without the code. */
  readonly text: string;

  constructor({ code, message, symbols = [], reason = "", retryAfter = null }: Refusal) {
    super(`${code}: ${message}`);
    this.code = code;
    this.text = message;
    this.symbols = symbols;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

/** The other side does not speak this protocol. `text`: the beginning of what it sent. */
export class BadMessage extends ClientError {
  override name = "BadMessage";
  readonly text: string;

  constructor(text: string) {
    super(`not a message: ${text}`);
    this.text = text;
  }
}

/** The client was closed. */
export class ClientClosed extends ClientError {
  override name = "ClientClosed";

  constructor() {
    super("the client is closed");
  }
}

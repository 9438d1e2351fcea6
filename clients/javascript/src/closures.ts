// Close codes: whether to come back after them, and when. The protocol's documentation has the same table, with what each
// means; the gateway says it in the close frame.

/** What a connection has ended with that was not closed. */
export const LOST = 1006;

/** How a connection ended. `wait`: least seconds before the next, with jittered backoff on top. */
export interface Closure {
  readonly code: number;
  readonly reason: string;
  readonly reconnect: boolean;
  readonly wait: number;
}

// A breach of the WebSocket protocol, a text that is not UTF-8, a message that is too big, an access that was revoked.
const FINAL = [1002, 1007, 1009, 4003];
// Too many commands, a failure of the gateway, no room, a client that did not read, too many connections.
const WAITS: Readonly<Record<number, number>> = { 1008: 5, 1011: 1, 1013: 5, 4001: 1, 4029: 5 };

/** What a close frame with `code` means. After codes that are not known yet coming back is worth a try. */
export function closure(code: number, reason = ""): Closure {
  const said = reason || (code === LOST ? "The connection was lost." : "");
  return { code, reason: said, reconnect: !FINAL.includes(code), wait: WAITS[code] ?? 0 };
}

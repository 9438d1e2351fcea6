// A client of the gateway's `/ws`: ticks with all their digits, and every loss said.
//
//     const client = new Client("wss://ticks.example.com/ws", { token });
//     await client.open();
//     await client.subscribe(["AAPL", "MSFT"], { maxRate: 5 });
//     for await (const event of client) ...

export type { BackoffOptions } from "./backoff.ts";
export type { Counts, Position } from "./books.ts";
export {
  Client,
  type ClientOptions,
  type Latest,
  type Listenable,
  type SubscribeOptions,
} from "./client.ts";
export { type Closure, closure } from "./closures.ts";
export { EVERYTHING } from "./commands.ts";
export {
  BadMessage,
  ClientClosed,
  ClientError,
  ClosedForGood,
  CommandRefused,
  type Refusal,
  Refused,
} from "./errors.ts";
export type {
  AccessChanged,
  BusState,
  Conflated,
  Connected,
  Delayed,
  Disconnected,
  Event,
  Extra,
  Gap,
  GapReason,
  Quote,
  Snapshot,
  Tick,
  Trace,
} from "./events.ts";
export type { MakeNumber } from "./messages.ts";
export type { SocketConstructor } from "./platform.ts";
export type { FeedState, FeedStatus, Loss } from "./status.ts";
export type { Token } from "./tokens.ts";

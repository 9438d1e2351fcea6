// Messages of the gateway as values. JSON.parse makes 150.250 into 150.25 and loses digits beyond a double's, so numbers
// are read as the text they were sent as. What is not as it should be is a TypeError; who reads says which message it was.

import type { Extra, Quote, Snapshot, Tick, Trace } from "./events.ts";

/** Makes what a price is of its digits. */
export type MakeNumber<N> = (digits: string) => N;

/** A number of the message: its digits, in an array, which tells it from a string. The protocol itself has no arrays of numbers. */
export type Digits = readonly [string];

export type Message = Readonly<Record<string, unknown>> & { readonly type: string };

// A string (to skip over) or a number, in JSON's own grammar. Text that is not JSON is still not JSON afterwards.
const TOKEN = /"(?:[^"\\]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** The message in a text; throws SyntaxError or TypeError if there is none. */
export function decode(text: unknown): Message {
  const message = JSON.parse(string(text).replace(TOKEN, (token) => (token[0] === '"' ? token : `["${token}"]`)));
  if (typeof message?.type !== "string") throw new TypeError();
  return message;
}

function digits(value: unknown): string {
  if (Array.isArray(value) && value.length === 1 && typeof value[0] === "string") return value[0];
  throw new TypeError();
}

/** A count, a number of seconds, or a place in a stream: those fit a double. */
export const float = (value: unknown): number => Number(digits(value));

/** As `float`; where the message has none, that is what it is. */
export const floatOr = <D>(value: unknown, otherwise: D): number | D => (value == null ? otherwise : float(value));

export function string(value: unknown): string {
  if (typeof value !== "string") throw new TypeError();
  return value;
}

export const stringOr = <D>(value: unknown, otherwise: D): string | D => (value == null ? otherwise : string(value));

/** Strings; none where the message has none. */
export function strings(value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new TypeError();
  return value.map(string);
}

/** The members of an object. */
export function members(value: unknown): [string, unknown][] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError();
  }
  return Object.entries(value);
}

export const counts = (value: unknown): [string, number][] =>
  members(value).map(([symbol, count]) => [symbol, float(count)]);

/** The tick or snapshot in a message; throws TypeError if it is none. */
export function quote<N>(message: Message, make: MakeNumber<N>): Quote<N> {
  const optional = (value: unknown) => (value == null ? null : make(digits(value)));
  const object = <M>(value: unknown, number: MakeNumber<M>) => (value == null ? null : more(value, number));
  const { bid, ask, size, extra, trace } = message;
  const price = {
    symbol: string(message.symbol),
    price: make(digits(message.price)),
    timestamp: string(message.timestamp),
    seq: float(message.seq),
    bid: optional(bid),
    ask: optional(ask),
    size: optional(size),
    extra: object(extra, make),
    trace: object(trace, Number) as Trace | null,
  };
  if (message.type === "tick") return { type: "tick", ...price } satisfies Tick<N>;
  return { type: "snapshot", ...price, epoch: string(message.epoch) } satisfies Snapshot<N>;
}

function more<N>(value: unknown, make: MakeNumber<N>): Extra<N> {
  return Object.fromEntries(
    members(value).map(([name, inner]) => [
      name,
      Array.isArray(inner) ? make(digits(inner)) : (inner as string | boolean | null),
    ]),
  );
}

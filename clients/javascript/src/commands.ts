// Commands that name symbols, filled up to the length that the gateway takes.

import type { Position } from "./books.ts";
import { CommandRefused } from "./errors.ts";

/** Every symbol, also those to come. */
export const EVERYTHING = "*";

const ID_BYTES = ',"id":'.length + 20;

/** How symbols are wanted. `maxRate`: ticks a second at most; null for every tick. `trace`: with `Tick.trace`. */
export interface Options {
  readonly maxRate: number | null;
  readonly snapshot: boolean;
  readonly trace?: boolean | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

/** `fields`: the message without its id. `since`: the symbols that it asks to resume. */
export interface Command {
  readonly fields: Fields;
  readonly symbols: readonly string[];
  readonly since: readonly string[];
}

export type Since = (symbol: string) => Position | undefined;

/** One byte a character: what is not ASCII is escaped. */
export function encode(fields: unknown): string {
  return JSON.stringify(fields).replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * A command of at most `limit` bytes for as many of `symbols` as it holds, from the first on.
 *
 * Each is resumed where `since` says. Every symbol ("*") goes alone: its room is for the positions of all `others()`.
 * Symbols that find none start over, and what they missed is a gap.
 */
export function subscribe(
  symbols: readonly string[],
  { maxRate, snapshot, trace }: Options,
  since: Since,
  others: () => Iterable<string>,
  limit: number,
): Command {
  const fields = {
    action: "subscribe",
    ...(maxRate !== null && { max_rate: maxRate }),
    ...(!snapshot && { snapshot }),
    ...(trace && { trace }),
  };
  const room = limit - encode({ ...fields, symbols: [], since: {} }).length - ID_BYTES;
  const isAll = symbols[0] === EVERYTHING;
  const [taken, places] = isAll
    ? [[EVERYTHING], resumable(others(), since, room - 3)]
    : fill(
        symbols.filter((symbol) => symbol !== EVERYTHING),
        since,
        room,
      );
  const resumed = places.size > 0 && { since: Object.fromEntries(places) };
  return { fields: { ...fields, symbols: taken, ...resumed }, symbols: taken, since: [...places.keys()] };
}

/** As `subscribe`. */
export function unsubscribe(symbols: readonly string[], limit: number): Command {
  const fields = { action: "unsubscribe" };
  const [taken] = fill(symbols, () => undefined, limit - encode({ ...fields, symbols: [] }).length - ID_BYTES);
  return { fields: { ...fields, symbols: taken }, symbols: taken, since: [] };
}

function fill(symbols: readonly string[], since: Since, limit: number): [string[], Map<string, Position>] {
  const taken: string[] = [];
  const places = new Map<string, Position>();
  let room = limit;
  for (const symbol of symbols) {
    room -= encode(symbol).length + 1;
    const place = since(symbol);
    const size = sizeOf(symbol, place);
    if (room < size && taken.length > 0) break;
    if (room < 0) {
      const message = `Too long: ${symbol.slice(0, 40)}`;
      throw new CommandRefused({ code: "invalid_symbol", message, symbols: [symbol] });
    }
    taken.push(symbol);
    if (place !== undefined && size <= room) {
      places.set(symbol, place);
      room -= size;
    }
  }
  return [taken, places];
}

function resumable(symbols: Iterable<string>, since: Since, limit: number): Map<string, Position> {
  const places = new Map<string, Position>();
  let room = limit;
  for (const symbol of symbols) {
    const place = since(symbol);
    if (place === undefined) continue;
    room -= sizeOf(symbol, place);
    if (room < 0) break;
    places.set(symbol, place);
  }
  return places;
}

/** Bytes of a member of `since`, with a comma. */
function sizeOf(symbol: string, place: Position | undefined): number {
  return place === undefined ? 0 : encode(symbol).length + encode(place).length + 2;
}

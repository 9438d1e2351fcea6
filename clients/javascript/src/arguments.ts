// What the calls of the client take. A wrong argument is an error of the call, and never of what goes on behind it.

function kind(name: string, value: unknown, type: string): void {
  if (typeof value !== type) throw new TypeError(`${name} is a ${type}, not ${typeof value}`);
}

export function text(name: string, value: unknown): string {
  kind(name, value, "string");
  return value as string;
}

export function flag(name: string, value: unknown): boolean {
  kind(name, value, "boolean");
  return value as boolean;
}

/** A number; Infinity is one. */
export function atLeast(least: number, name: string, value: unknown): number {
  kind(name, value, "number");
  if (!((value as number) >= least)) throw new RangeError(`${name} is at least ${least}: ${value}`);
  return value as number;
}

/** Symbols, each once, at least one. */
export function symbolList(value: unknown): string[] {
  const symbols = Array.isArray(value) ? value : [value];
  if (symbols.length === 0) throw new TypeError("no symbols");
  return [...new Set(symbols.map((symbol) => text("a symbol", symbol)))];
}

/** The gateway's address, with the scheme of WebSockets. */
export function webSocketUrl(value: unknown): URL {
  const base = (globalThis as { location?: { href: string } }).location?.href;
  const url = new URL(value instanceof URL ? value : text("url", value), base);
  url.protocol = url.protocol.replace("http", "ws");
  if (!/^wss?:$/.test(url.protocol)) throw new RangeError(`no address of a WebSocket: ${url}`);
  url.hash = "";
  return url;
}

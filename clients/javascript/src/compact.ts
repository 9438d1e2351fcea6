// The gateway's compact format: ticks in less than half the bytes. A WebSocket that asks for it, and gives its client the
// messages that it would have had otherwise, is all that takes, so who does not use it has none of this.
//
//     new Client(url, { WebSocket: compact() })

import type { SocketConstructor } from "./platform.ts";

type Message = { readonly data: unknown };
type Listener = ((event: Message) => void) | null;

// A string, a number or a word, as they are written; or what stands between them.
const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g;

/** A WebSocket that speaks the compact format, made of that of the platform, or of the package ws. */
export function compact(given = (globalThis as { WebSocket?: SocketConstructor }).WebSocket): SocketConstructor {
  if (given === undefined) throw new TypeError("no WebSocket here: give one, of the package ws");
  const Base: SocketConstructor = given;
  return class {
    #socket;
    #fields: string[] = [];
    #listener: Listener = null;

    // biome-ignore lint/suspicious/noExplicitAny: as of the platform's
    constructor(url: string, ...options: any[]) {
      const asking = new URL(url);
      asking.searchParams.set("format", "compact");
      this.#socket = new Base(asking.href, ...options);
      this.#socket.onmessage = ({ data }: Message) => {
        for (const message of this.#messages(data)) this.#listener?.({ data: message });
      };
    }

    get readyState(): number {
      return this.#socket.readyState;
    }

    set onmessage(listener: Listener) {
      this.#listener = listener;
    }

    set onclose(listener: unknown) {
      this.#socket.onclose = listener;
    }

    set onerror(listener: unknown) {
      this.#socket.onerror = listener;
    }

    send(text: string): void {
      this.#socket.send(text);
    }

    close(): void {
      this.#socket.close();
    }

    #messages(data: unknown): unknown[] {
      if (typeof data !== "string") return [data];
      if (data[0] === "[") return expanded(data, this.#fields);
      if (data.startsWith('{"type":"welcome"')) this.#fields = JSON.parse(data).fields ?? [];
      return [data];
    }
  };
}

/** The ticks in a message as messages. What stands in them is taken over as it is written, so numbers keep their digits. */
export function expanded(text: string, fields: readonly string[]): string[] {
  const ticks: string[] = [];
  let depth = 0;
  let at = 0;
  let value = "";
  let members: string[] = [];
  const end = () => {
    if (value[0] === "{") members.push(value.slice(1, -1));
    else if (value && value !== "null") members.push(`"${fields[at]}":${value}`);
    value = "";
    at += 1;
  };
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "]" || token === "}") depth -= 1;
    if (depth === 1 && token === "[") {
      members = [];
      at = 0;
    } else if (depth === 1 && token === "]") {
      end();
      ticks.push(`{"type":"tick",${members.join()}}`);
    } else if (depth === 2 && token === ",") end();
    else if (depth >= 2) value += token;
    if (token === "[" || token === "{") depth += 1;
  }
  return ticks.length > 0 ? ticks : [text]; // which is no message
}

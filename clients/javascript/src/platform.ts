// What differs between a browser, a worker and Node.

import type { Socket } from "./session.ts";
import { SUBPROTOCOL } from "./tokens.ts";

/** The constructor of a WebSocket: that of the platform, or of the package ws. */
// biome-ignore lint/suspicious/noExplicitAny: their types differ in what does not matter here
export type SocketConstructor = new (url: string, protocols?: any) => any;

type Listening = {
  addEventListener?(type: string, run: () => void): void;
  removeEventListener?(type: string, run: () => void): void;
};

const here = globalThis as unknown as {
  WebSocket?: SocketConstructor;
  document?: Listening & { readonly hidden: boolean };
} & Listening;

/** How a client opens its sockets. Throws TypeError where there are none to be had. */
export function socketMaker(
  url: URL,
  chosen: SocketConstructor | undefined,
  headers: Readonly<Record<string, string>>,
): (token: string | undefined) => Socket {
  const Maker = chosen ?? here.WebSocket;
  if (Maker === undefined) {
    throw new TypeError("no WebSocket: give that of ws");
  }
  const hasHeaders = Object.keys(headers).length > 0;
  if (hasHeaders && here.document !== undefined) {
    throw new TypeError("browsers send no key or headers: show a token");
  }
  return (token) => {
    const protocols = token === undefined ? [] : [SUBPROTOCOL, `${SUBPROTOCOL}.token.${token}`];
    return new Maker(url.href, hasHeaders ? { protocols, headers } : protocols);
  };
}

/** Calls `run` when the network, or the one who looks at the page, is back; returns what ends that. */
export function onReturn(run: () => void): () => void {
  const { document } = here;
  const seen = () => document?.hidden || run();
  here.addEventListener?.("online", run);
  document?.addEventListener?.("visibilitychange", seen);
  return () => {
    here.removeEventListener?.("online", run);
    document?.removeEventListener?.("visibilitychange", seen);
  };
}

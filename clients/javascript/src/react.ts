// Quotes and the feed's status for React, rendered at most once a frame.

import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useSyncExternalStore,
} from "react";
import { type Client, CommandRefused, type FeedStatus, type Latest, type SubscribeOptions } from "./index.ts";

// Prices may be of any kind here: the context does not know which.
// biome-ignore lint/suspicious/noExplicitAny: as above
type AnyClient = Client<any>;

/** How a symbol is wanted. */
export type QuoteOptions = Omit<SubscribeOptions, "signal">;

// Frames do not come while the page is hidden.
const LATEST_MS = 100;
// For so long a symbol that is not shown any more stays subscribed to: what is shown next may have it, too.
const LINGER_MS = 200;

const Context = createContext<AnyClient | null>(null);

/** Hands a client to the hooks below it. Who made the client opens and closes it. */
export function FeedProvider(props: { readonly client: AnyClient; readonly children?: ReactNode }): ReactElement {
  return createElement(Context.Provider, { value: props.client }, props.children);
}

/**
 * The last price of `symbol`, null as long as there is none. The symbol is subscribed to while a component shows it, with
 * the options of the first one that does. Throws the CommandRefused of a symbol that cannot be had, for an error boundary.
 */
export function useQuote<N = string>(
  symbol: string,
  { maxRate = null, snapshot = true }: QuoteOptions = {},
  client?: Client<N>,
): Latest<N> | null {
  const store = useStore(client);
  const watch = useCallback(
    (render: () => void) => store.watch(symbol, { maxRate, snapshot }, render),
    [store, symbol, maxRate, snapshot],
  );
  const seen = useSyncExternalStore(watch, () => store.seen(symbol), nothing);
  if (seen instanceof CommandRefused) throw seen;
  return seen as Latest<N> | null;
}

/** How the feed is. */
export function useFeedStatus<N = string>(client?: Client<N>): FeedStatus {
  const store = useStore(client);
  return useSyncExternalStore(store.watchStatus, store.status, store.status);
}

const nothing = () => null;

function useStore(client: AnyClient | undefined): Store {
  const provided = useContext(Context);
  const found = client ?? provided;
  if (found === null) throw new Error("no client: neither an argument nor a FeedProvider above has one");
  return storeOf(found);
}

const stores = new WeakMap<AnyClient, Store>();

function storeOf(client: AnyClient): Store {
  const store = stores.get(client) ?? new Store(client);
  stores.set(client, store);
  return store;
}

/** What is shown of one symbol, and by whom. */
interface Watched {
  readonly renders: Set<() => void>;
  seen: Latest<unknown> | CommandRefused | null;
  /** Whether it was subscribed to for the hooks alone. */
  isOwn: boolean;
  leaving: ReturnType<typeof setTimeout> | undefined;
}

/** What the components of one client show: it changes once a frame. */
class Store {
  #client;
  #status: FeedStatus;
  #symbols = new Map<string, Watched>();
  #renders = new Set<() => void>();
  #dirty = new Set<string>();
  #isAllDirty = false;
  #isDue = false;
  #ends: (() => void)[] = [];

  constructor(client: AnyClient) {
    this.#client = client;
    this.#status = client.status;
  }

  seen(symbol: string): Watched["seen"] {
    const watched = this.#symbols.get(symbol);
    return watched === undefined ? this.#client.latest(symbol) : watched.seen;
  }

  watch(symbol: string, options: QuoteOptions, render: () => void): () => void {
    const watched = this.#symbols.get(symbol) ?? this.#begin(symbol, options);
    clearTimeout(watched.leaving);
    const own = () => render();
    watched.renders.add(own);
    return () => {
      watched.renders.delete(own);
      if (watched.renders.size > 0) return;
      clearTimeout(watched.leaving);
      watched.leaving = setTimeout(() => this.#leave(symbol, watched), LINGER_MS);
    };
  }

  status = (): FeedStatus => (this.#renders.size > 0 ? this.#status : this.#client.status);

  watchStatus = (render: () => void): (() => void) => {
    const own = () => render();
    this.#status = this.#client.status;
    this.#renders.add(own);
    this.#listen();
    return () => {
      this.#renders.delete(own);
      this.#listen();
    };
  };

  #begin(symbol: string, options: QuoteOptions): Watched {
    const isOwn = !this.#client.symbols.includes(symbol);
    const watched: Watched = { renders: new Set(), seen: this.#client.latest(symbol), isOwn, leaving: undefined };
    this.#symbols.set(symbol, watched);
    this.#listen();
    if (isOwn) {
      this.#client.subscribe(symbol, options).catch((error: unknown) => {
        if (!(error instanceof CommandRefused)) return; // the status says how the client has ended
        watched.seen = error;
        for (const render of watched.renders) render();
      });
    }
    return watched;
  }

  #leave(symbol: string, watched: Watched): void {
    this.#symbols.delete(symbol);
    this.#listen();
    if (watched.isOwn) this.#client.unsubscribe(symbol).catch(nothing);
  }

  /** Listens to the client as long as there is somebody to render. */
  #listen(): void {
    const isWanted = this.#symbols.size + this.#renders.size > 0;
    if (isWanted === this.#ends.length > 0) return;
    for (const end of this.#ends.splice(0)) end();
    if (!isWanted) return;
    this.#ends = [this.#client.on("change", this.#changed), this.#client.on("status", this.#request)];
  }

  #changed = (symbol: string | undefined): void => {
    if (symbol === undefined) this.#isAllDirty = true;
    else if (this.#symbols.has(symbol)) this.#dirty.add(symbol);
    else return;
    this.#request();
  };

  #request = (): void => {
    if (this.#isDue) return;
    this.#isDue = true;
    atNextFrame(() => this.#render());
  };

  #render(): void {
    this.#isDue = false;
    const dirty = this.#isAllDirty ? [...this.#symbols.keys()] : this.#dirty;
    this.#dirty = new Set();
    this.#isAllDirty = false;
    for (const symbol of dirty) this.#renderSymbol(symbol);
    if (this.#status === this.#client.status) return;
    this.#status = this.#client.status;
    for (const render of this.#renders) render();
  }

  #renderSymbol(symbol: string): void {
    const watched = this.#symbols.get(symbol);
    const seen = this.#client.latest(symbol);
    if (watched === undefined || seen === watched.seen || watched.seen instanceof CommandRefused) return;
    watched.seen = seen;
    for (const render of watched.renders) render();
  }
}

function atNextFrame(work: () => void): void {
  if (typeof requestAnimationFrame === "undefined") {
    setTimeout(work, LATEST_MS);
    return;
  }
  const once = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    work();
  };
  const frame = requestAnimationFrame(once);
  const timer = setTimeout(once, LATEST_MS);
}

// Made of clients/javascript/src by `make client`: change that, not this.

// src/arguments.ts
function kind(name, value, type) {
  if (typeof value !== type) throw new TypeError(`${name} is a ${type}, not ${typeof value}`);
}
function text(name, value) {
  kind(name, value, "string");
  return value;
}
function flag(name, value) {
  kind(name, value, "boolean");
  return value;
}
function atLeast(least, name, value) {
  kind(name, value, "number");
  if (!(value >= least)) throw new RangeError(`${name} is at least ${least}: ${value}`);
  return value;
}
function symbolList(value) {
  const symbols = Array.isArray(value) ? value : [value];
  if (symbols.length === 0) throw new TypeError("no symbols");
  return [...new Set(symbols.map((symbol) => text("a symbol", symbol)))];
}
function webSocketUrl(value) {
  const base = globalThis.location?.href;
  const url = new URL(value instanceof URL ? value : text("url", value), base);
  url.protocol = url.protocol.replace("http", "ws");
  if (!/^wss?:$/.test(url.protocol)) throw new RangeError(`no address of a WebSocket: ${url}`);
  url.hash = "";
  return url;
}

// src/backoff.ts
var Backoff = class {
  #base;
  #cap;
  #lasting;
  #random;
  #bound;
  constructor({ base = 0.5, cap = 30, lasting = 10, random = Math.random } = {}) {
    this.#base = this.#bound = atLeast(1e-3, "base", base);
    this.#cap = atLeast(base, "cap", cap);
    this.#lasting = atLeast(0, "lasting", lasting);
    this.#random = random;
  }
  /** How long to wait before the next attempt. */
  next() {
    const bound = this.#bound;
    this.#bound = Math.min(this.#cap, 2 * bound);
    return this.#random() * bound;
  }
  /** A connection has ended that lasted so long. */
  ended(after) {
    if (after >= this.#lasting) this.reset();
  }
  /** There is a reason to try soon. */
  reset() {
    this.#bound = this.#base;
  }
};
var Refusals = class {
  #limit;
  #clock;
  #began = null;
  #wasWelcomed = false;
  /** `limit`: so much of nothing but refusals, for a client that was welcomed before; Infinity for any client. */
  constructor(limit, clock) {
    this.#limit = limit;
    this.#clock = clock;
  }
  welcomed() {
    this.#wasWelcomed = true;
    this.interrupted();
  }
  /** An attempt ended in another way. */
  interrupted() {
    this.#began = null;
  }
  /** Notes a refusal; returns for how long there is still use in trying again. */
  left() {
    if (!this.#wasWelcomed && this.#limit < Infinity) return 0;
    const now2 = this.#clock();
    this.#began ??= now2;
    return Math.max(0, this.#began + this.#limit - now2);
  }
};

// src/books.ts
var Account = class {
  /** Empty: not known, as ticks do not name theirs. */
  epoch;
  seq;
  receipts = /* @__PURE__ */ new Map();
  /** The seq of the last price the consumer was given in this epoch. */
  held = -1;
  /** Where the stream is, as far as the gateway has said. */
  told;
  /** Whether this connection has the symbol. */
  isSynced = true;
  constructor(epoch, seq) {
    this.epoch = epoch;
    this.seq = this.told = seq;
  }
};
var Books = class {
  counts = { repeated: 0, gaps: 0, missed: 0, skipped: 0, resumed: 0, late: 0 };
  #emit;
  #accounts = /* @__PURE__ */ new Map();
  #last = /* @__PURE__ */ new Map();
  constructor(emit) {
    this.#emit = emit;
  }
  /** Those that have an account. */
  symbols() {
    return this.#accounts.keys();
  }
  /** Where to resume the symbol, undefined if it has to start over. */
  since(symbol) {
    const account = this.#accounts.get(symbol);
    return account?.epoch ? { seq: account.seq, epoch: account.epoch } : void 0;
  }
  /** The last price of the symbol that came. */
  last(symbol) {
    return this.#last.get(symbol);
  }
  /** Whether that is the newest, as far as the gateway has said on this connection. */
  isCurrent(symbol) {
    const account = this.#accounts.get(symbol);
    return account?.isSynced === true && account.held >= account.told;
  }
  /** Forgets all symbols but these. */
  keep(isWanted) {
    for (const map of [this.#accounts, this.#last]) {
      for (const symbol of map.keys()) if (!isWanted(symbol)) map.delete(symbol);
    }
  }
  /** What was skipped before a tick that no longer came will be asked for again. */
  disconnected() {
    for (const account of this.#accounts.values()) {
      account.receipts.clear();
      account.isSynced = false;
    }
  }
  quote(quote2) {
    const { symbol, seq } = quote2;
    const epoch = quote2.type === "tick" ? "" : quote2.epoch;
    let account = this.#accounts.get(symbol) ?? this.#open(symbol, epoch, seq - 1);
    if (epoch && account.epoch && account.epoch !== epoch) {
      account = this.#startOver(symbol, account, "unexplained", epoch, seq - 1);
    }
    if (seq <= account.seq) {
      account.receipts.clear();
      this.counts.repeated += 1;
      return;
    }
    const missing = this.#settle(symbol, account, seq - account.seq - 1);
    account.epoch ||= epoch;
    this.#report(symbol, missing, "unexplained", seq - 1, account.epoch);
    account.seq = account.held = seq;
    this.#last.set(symbol, quote2);
    this.#emit(quote2);
  }
  /** A receipt. It is passed on with the tick that it was sent ahead of. */
  conflated(reason, skipped) {
    for (const [symbol, count] of skipped) {
      const receipts = this.#accounts.get(symbol)?.receipts;
      if (count > 0) receipts?.set(reason, (receipts.get(reason) ?? 0) + count);
    }
  }
  /** The gateway has missed ticks. Where our own numbers say how many, they go before its own. */
  gap(symbol, missed, seq, epoch) {
    const account = this.#accounts.get(symbol);
    if (account === void 0) {
      this.#open(symbol, epoch, seq);
      this.#report(symbol, missed, "bus", seq, epoch);
    } else if (account.epoch !== epoch || missed === null) {
      this.#startOver(symbol, account, "bus", epoch, seq);
    } else if (seq <= account.seq) {
      account.receipts.clear();
    } else {
      const missing = this.#settle(symbol, account, seq - account.seq);
      account.seq = account.told = seq;
      this.#report(symbol, missing, "bus", seq, epoch);
    }
  }
  /** Returns the symbols that are not where the gateway says they should be: they have to be resumed. */
  heartbeat(seqs) {
    return [...seqs].filter(([symbol, seq]) => !this.#agrees(symbol, seq)).map(([symbol]) => symbol);
  }
  /** An answer to a subscription that was `asked` to resume symbols, and for snapshots of the others or not. */
  subscribed(positions, asked, snapshot) {
    const left = new Set(asked);
    for (const [symbol, place] of positions) {
      left.delete(symbol);
      const account = this.#accounts.get(symbol);
      if (place.recovered && account !== void 0) {
        account.receipts.clear();
        account.told = Math.max(place.seq, account.seq);
        account.isSynced = true;
        this.counts.resumed += 1;
        this.counts.late += account.told - account.seq;
      } else this.#restart(symbol, account, place, snapshot);
    }
    for (const symbol of left) {
      if (this.since(symbol)?.seq && this.#accounts.delete(symbol)) this.#report(symbol, null, "not_recovered", 0, "");
    }
  }
  #open(symbol, epoch, seq) {
    const account = new Account(epoch, seq);
    this.#accounts.set(symbol, account);
    return account;
  }
  /** Passes on the receipts that explain a jump over so many ticks; returns how many are left unexplained. */
  #settle(symbol, account, jump) {
    let left = jump;
    for (const [reason, count] of account.receipts) {
      const skipped = Math.min(count, left);
      if (skipped === 0) continue;
      left -= skipped;
      this.counts.skipped += skipped;
      this.#emit({ type: "conflated", symbol, skipped, reason });
    }
    account.receipts.clear();
    return left;
  }
  #agrees(symbol, seq) {
    const account = this.#accounts.get(symbol);
    if (account === void 0) return seq === 0;
    if (account.seq === seq) return true;
    account.told = Math.max(seq, account.seq + 1);
    this.#report(symbol, null, "heartbeat", seq, account.epoch);
    return false;
  }
  /** The stream goes on at `place`: with a snapshot of that very tick, or behind it. */
  #restart(symbol, known, { seq, epoch, recovered }, snapshot) {
    if (!epoch) {
      if (this.#accounts.delete(symbol)) this.#report(symbol, null, "not_recovered", 0, "");
      return;
    }
    const isFinal = recovered === false;
    const start = seq > 0 && (snapshot || isFinal) ? seq - 1 : seq;
    let account = known ?? this.#open(symbol, epoch, start);
    if (account.epoch !== epoch || isFinal && seq < account.seq) {
      account = this.#startOver(symbol, account, "not_recovered", epoch, start);
    } else if (start > account.seq) {
      const missing = this.#settle(symbol, account, start - account.seq);
      account.seq = start;
      this.#report(symbol, missing, "not_recovered", start, epoch);
    }
    account.told = Math.max(seq, account.seq);
    account.isSynced = true;
  }
  /** The stream is another one: it is unknown how many ticks were missed between the two. */
  #startOver(symbol, account, reason, epoch, seq) {
    this.#settle(symbol, account, Infinity);
    const next = this.#open(symbol, epoch, seq);
    this.#report(symbol, null, reason, seq, epoch);
    return next;
  }
  #report(symbol, missed, reason, seq, epoch) {
    if (missed === 0) return;
    this.counts.gaps += 1;
    this.counts.missed += missed ?? 0;
    this.#emit({ type: "gap", symbol, missed, reason, seq, epoch });
  }
};

// src/closures.ts
var LOST = 1006;
var FINAL = [1002, 1007, 1009, 4003];
var WAITS = { 1008: 5, 1011: 1, 1013: 5, 4001: 1, 4029: 5 };
function closure(code, reason = "") {
  const said = reason || (code === LOST ? "The connection was lost." : "");
  return { code, reason: said, reconnect: !FINAL.includes(code), wait: WAITS[code] ?? 0 };
}

// src/errors.ts
var ClientError = class extends Error {
  name = "ClientError";
};
var Refused = class extends ClientError {
  name = "Refused";
  status;
  reason;
  constructor(status, reason) {
    super(`refused: ${reason}`);
    this.status = status;
    this.reason = reason;
  }
};
var ClosedForGood = class extends ClientError {
  name = "ClosedForGood";
  code;
  reason;
  constructor(code, reason) {
    super(`closed for good: ${code} ${reason}`.trimEnd());
    this.code = code;
    this.reason = reason;
  }
};
var CommandRefused = class extends ClientError {
  name = "CommandRefused";
  code;
  symbols;
  reason;
  retryAfter;
  /** What the gateway says, without the code. */
  text;
  constructor({ code, message, symbols = [], reason = "", retryAfter = null }) {
    super(`${code}: ${message}`);
    this.code = code;
    this.text = message;
    this.symbols = symbols;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
};
var BadMessage = class extends ClientError {
  name = "BadMessage";
  text;
  constructor(text2) {
    super(`not a message: ${text2}`);
    this.text = text2;
  }
};
var ClientClosed = class extends ClientError {
  name = "ClientClosed";
  constructor() {
    super("the client is closed");
  }
};

// src/backlog.ts
var Notes = class {
  #before = /* @__PURE__ */ new Map();
  #break = null;
  #after = /* @__PURE__ */ new Map();
  add(note) {
    if (note.type === "gap" && note.missed === null) {
      for (const earlier of this.#after.values()) addUp(this.#before, earlier);
      this.#break = note;
      this.#after = /* @__PURE__ */ new Map();
    } else addUp(this.#after, note);
  }
  *[Symbol.iterator]() {
    if (this.#break !== null) {
      yield* this.#before.values();
      yield this.#break;
    }
    yield* this.#after.values();
  }
};
function addUp(notes, note) {
  const key = `${note.type} ${note.reason}`;
  const old = notes.get(key);
  if (note.type === "gap") notes.set(key, { ...note, missed: (old?.missed ?? 0) + (note.missed ?? 0) });
  else notes.set(key, { ...note, skipped: (old?.skipped ?? 0) + note.skipped });
}
var Parked = class {
  turn;
  #before = new Notes();
  #quote = null;
  #after = new Notes();
  constructor(turn2) {
    this.turn = turn2;
  }
  /** Returns whether an older price was left out for it. */
  add(event) {
    if (event.type === "conflated" || event.type === "gap") {
      (this.#quote === null ? this.#before : this.#after).add(event);
      return false;
    }
    const wasThere = this.#quote !== null;
    if (wasThere) {
      this.#before.add({ type: "conflated", symbol: event.symbol, skipped: 1, reason: "slow" });
      for (const note of this.#after) this.#before.add(note);
      this.#after = new Notes();
    }
    this.#quote = event;
    return wasThere;
  }
  events() {
    return [...this.#before, ...this.#quote === null ? [] : [this.#quote], ...this.#after];
  }
};
var Backlog = class {
  /** Prices that were left out for newer ones, in all. */
  skipped = 0;
  #symbols = /* @__PURE__ */ new Map();
  /** The same ones and the others, in their order: for those the key is their type behind a space, which no symbol has. */
  #places = /* @__PURE__ */ new Map();
  #turn = 0;
  get isEmpty() {
    return this.#places.size === 0;
  }
  put(event) {
    if (!("symbol" in event)) {
      this.#turn += 1;
      this.#last(` ${event.type}`, event);
      return;
    }
    const { symbol } = event;
    let parked = this.#symbols.get(symbol);
    if (parked === void 0) {
      parked = new Parked(this.#turn);
      this.#symbols.set(symbol, parked);
      this.#places.set(symbol, parked);
    } else if (parked.turn !== this.#turn) {
      parked.turn = this.#turn;
      this.#last(symbol, parked);
    }
    if (parked.add(event)) this.skipped += 1;
  }
  /** What is due next; empty if nothing waits. */
  take() {
    for (const [key, place] of this.#places) {
      this.#places.delete(key);
      this.#symbols.delete(key);
      return place instanceof Parked ? place.events() : [place];
    }
    return [];
  }
  /** Takes out the symbols that are no longer wanted. */
  purge(isUnwanted) {
    for (const symbol of this.#symbols.keys()) {
      if (!isUnwanted(symbol)) continue;
      this.#symbols.delete(symbol);
      this.#places.delete(symbol);
    }
  }
  clear() {
    this.#symbols.clear();
    this.#places.clear();
  }
  #last(key, place) {
    this.#places.delete(key);
    this.#places.set(key, place);
  }
};

// src/inbox.ts
var SLICE = 0.05;
var Inbox = class {
  /** Whether somebody iterates, or may come to. */
  isKept = true;
  #limit;
  #maxAge;
  #clock;
  #events = [];
  #first = 0;
  #backlog = new Backlog();
  #isBehind = false;
  /** What the backlog has given out: a price and what comes before it, which belong together. */
  #due = [];
  #end = null;
  #failure = null;
  #wake = null;
  #waitedAt;
  constructor(limit, maxAge, clock) {
    this.#limit = limit;
    this.#maxAge = maxAge;
    this.#clock = clock;
    this.#waitedAt = clock();
  }
  /** Prices that were left out for newer ones. */
  get skipped() {
    return this.#backlog.skipped;
  }
  /** `isFailure`: an attempt to connect failed, perhaps again. Of those only the last is kept while nobody reads. */
  put(event, isFailure = false) {
    if (!this.isKept) return;
    if (isFailure) {
      if (this.#waiting > 0 && this.#events.at(-1)?.event === this.#failure) this.#events.pop();
      this.#failure = event;
    }
    if (this.#isBehind) this.#backlog.put(event);
    else {
      this.#events.push({ at: this.#clock(), event });
      if (this.#waiting > this.#limit) this.#fallBehind();
    }
    this.#wake?.();
  }
  /** The next event; after the last it throws what `finish` was given. Throws while another waits. */
  async get() {
    if (this.#wake !== null) throw new Error("a client has one consumer");
    await this.#letRead();
    for (; ; ) {
      const event = this.#next();
      if (event !== void 0) return event;
      if (this.#end !== null) throw this.#end;
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
      this.#waitedAt = this.#clock();
    }
  }
  /** Takes out the symbols that are no longer wanted. */
  purge(isUnwanted) {
    const isWanted = (event) => !("symbol" in event && isUnwanted(event.symbol));
    this.#cut();
    this.#events = this.#events.filter(({ event }) => isWanted(event));
    this.#due = this.#due.filter(isWanted);
    this.#backlog.purge(isUnwanted);
  }
  discard() {
    this.#events = [];
    this.#first = 0;
    this.#due = [];
    this.#backlog.clear();
    this.#isBehind = false;
  }
  /** There will be no more events. */
  finish(end) {
    this.#end ??= end;
    this.#wake?.();
  }
  /** A consumer that finds an event each time it asks, and waits for nothing else, would hold up the event loop. */
  async #letRead() {
    if (this.#clock() - this.#waitedAt <= SLICE || this.#waiting === 0 && !this.#isBehind) return;
    await turn();
    this.#waitedAt = this.#clock();
  }
  get #waiting() {
    return this.#events.length - this.#first;
  }
  #next() {
    const first = this.#events[this.#first];
    if (first !== void 0) {
      if ("symbol" in first.event && this.#clock() - first.at > this.#maxAge) this.#fallBehind();
      else {
        this.#first += 1;
        if (this.#first > 1e3) this.#cut();
        return first.event;
      }
    }
    if (this.#due.length === 0) this.#due = this.#backlog.take();
    const event = this.#due.shift();
    if (event === void 0) this.#isBehind = false;
    return event;
  }
  #cut() {
    this.#events.splice(0, this.#first);
    this.#first = 0;
  }
  #fallBehind() {
    this.#isBehind = true;
    this.#cut();
    for (const { event } of this.#events) this.#backlog.put(event);
    this.#events = [];
  }
};
function turn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

// src/listeners.ts
var Listeners = class {
  #all = /* @__PURE__ */ new Map();
  /** Returns what ends it. A function that listens twice is called twice. */
  add(type, listener) {
    const listeners = this.#all.get(type) ?? /* @__PURE__ */ new Set();
    this.#all.set(type, listeners);
    const own = (value) => listener(value);
    listeners.add(own);
    return () => void listeners.delete(own);
  }
  /** What a listener throws is reported as an error of its own, and does not keep the others from hearing. */
  call(type, value) {
    for (const listener of this.#all.get(type) ?? []) {
      try {
        listener(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
};

// src/messages.ts
var TOKEN = /"(?:[^"\\]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
function decode(text2) {
  const message = JSON.parse(string(text2).replace(TOKEN, (token) => token[0] === '"' ? token : `["${token}"]`));
  if (typeof message?.type !== "string") throw new TypeError();
  return message;
}
function digits(value) {
  if (Array.isArray(value) && value.length === 1 && typeof value[0] === "string") return value[0];
  throw new TypeError();
}
var float = (value) => Number(digits(value));
var floatOr = (value, otherwise) => value == null ? otherwise : float(value);
function string(value) {
  if (typeof value !== "string") throw new TypeError();
  return value;
}
var stringOr = (value, otherwise) => value == null ? otherwise : string(value);
function strings(value) {
  if (value === void 0) return [];
  if (!Array.isArray(value)) throw new TypeError();
  return value.map(string);
}
function members(value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError();
  }
  return Object.entries(value);
}
var counts = (value) => members(value).map(([symbol, count]) => [symbol, float(count)]);
function quote(message, make) {
  const optional = (value) => value == null ? null : make(digits(value));
  const object = (value, number) => value == null ? null : more(value, number);
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
    trace: object(trace, Number)
  };
  if (message.type === "tick") return { type: "tick", ...price };
  return { type: "snapshot", ...price, epoch: string(message.epoch) };
}
function more(value, make) {
  return Object.fromEntries(
    members(value).map(([name, inner]) => [
      name,
      Array.isArray(inner) ? make(digits(inner)) : inner
    ])
  );
}

// src/tokens.ts
var SUBPROTOCOL = "marketmux";
var PATIENCE_MS = 1e4;
var EARLY = 0.75;
var LEAST_MS = 1e3;
var LONGEST_MS = 2 ** 31 - 1;
var FITS = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
var Tokens = class {
  #token;
  #timer;
  #turn = 0;
  #giveUp = null;
  constructor(token) {
    if (token !== void 0 && typeof token !== "function") fitting(token);
    this.#token = token;
  }
  /** The next token to show, undefined if there are none. Rejects where none is to be had. */
  async next() {
    if (typeof this.#token !== "function") return this.#token;
    return fitting(await this.#patiently(this.#token()));
  }
  /**
   * Replaces the token of a connection before it ends. `show` sends one, and gives when that one ends; null: it does not
   * by itself.
   */
  keepFresh(expiresAt, show) {
    this.stop();
    if (expiresAt === null || typeof this.#token !== "function") return;
    const turn2 = this.#turn;
    const left = Date.parse(expiresAt) - Date.now();
    this.#timer = setTimeout(
      async () => {
        const ends = await this.#replace(show).catch(() => expiresAt);
        if (turn2 === this.#turn) this.keepFresh(ends, show);
      },
      Math.min(LONGEST_MS, Math.max(LEAST_MS, left * EARLY))
    );
  }
  /** The connection, or the client, has ended. */
  stop() {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#giveUp?.();
  }
  async #patiently(token) {
    const late = new Promise((_, reject) => {
      this.#giveUp = () => reject(new Error("no token in time"));
    });
    const timer = setTimeout(this.#giveUp, PATIENCE_MS);
    try {
      return await Promise.race([token, late]);
    } finally {
      clearTimeout(timer);
    }
  }
  async #replace(show) {
    return show(await this.next());
  }
};
function fitting(token) {
  if (!FITS.test(text("a token", token))) throw new RangeError("a token has no such characters");
  return token;
}

// src/platform.ts
var here = globalThis;
function socketMaker(url, chosen, headers) {
  const Maker = chosen ?? here.WebSocket;
  if (Maker === void 0) {
    throw new TypeError("no WebSocket: give that of ws");
  }
  const hasHeaders = Object.keys(headers).length > 0;
  if (hasHeaders && here.document !== void 0) {
    throw new TypeError("browsers send no key or headers: show a token");
  }
  return (token) => {
    const protocols = token === void 0 ? [] : [SUBPROTOCOL, `${SUBPROTOCOL}.token.${token}`];
    return new Maker(url.href, hasHeaders ? { protocols, headers } : protocols);
  };
}
function onReturn(run) {
  const { document } = here;
  const seen = () => document?.hidden || run();
  here.addEventListener?.("online", run);
  document?.addEventListener?.("visibilitychange", seen);
  return () => {
    here.removeEventListener?.("online", run);
    document?.removeEventListener?.("visibilitychange", seen);
  };
}

// src/budget.ts
var SHARE = 0.8;
var Budget = class {
  #perSecond;
  #clock;
  #tokens;
  #at;
  constructor(perSecond, clock) {
    this.#perSecond = Math.max(1, SHARE * perSecond);
    this.#clock = clock;
    this.#tokens = this.#perSecond;
    this.#at = clock();
  }
  /** Takes one command's worth; returns the seconds to wait before the command may be sent. */
  spend() {
    const now2 = this.#clock();
    this.#tokens = Math.min(this.#perSecond, this.#tokens + (now2 - this.#at) * this.#perSecond) - 1;
    this.#at = now2;
    return Math.max(0, -this.#tokens / this.#perSecond);
  }
};

// src/commands.ts
var EVERYTHING = "*";
var ID_BYTES = ',"id":'.length + 20;
function encode(fields) {
  return JSON.stringify(fields).replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`
  );
}
function subscribe(symbols, { maxRate, snapshot, trace }, since, others, limit) {
  const fields = {
    action: "subscribe",
    ...maxRate !== null && { max_rate: maxRate },
    ...!snapshot && { snapshot },
    ...trace && { trace }
  };
  const room = limit - encode({ ...fields, symbols: [], since: {} }).length - ID_BYTES;
  const isAll = symbols[0] === EVERYTHING;
  const [taken, places2] = isAll ? [[EVERYTHING], resumable(others(), since, room - 3)] : fill(
    symbols.filter((symbol) => symbol !== EVERYTHING),
    since,
    room
  );
  const resumed = places2.size > 0 && { since: Object.fromEntries(places2) };
  return { fields: { ...fields, symbols: taken, ...resumed }, symbols: taken, since: [...places2.keys()] };
}
function unsubscribe(symbols, limit) {
  const fields = { action: "unsubscribe" };
  const [taken] = fill(symbols, () => void 0, limit - encode({ ...fields, symbols: [] }).length - ID_BYTES);
  return { fields: { ...fields, symbols: taken }, symbols: taken, since: [] };
}
function fill(symbols, since, limit) {
  const taken = [];
  const places2 = /* @__PURE__ */ new Map();
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
    if (place !== void 0 && size <= room) {
      places2.set(symbol, place);
      room -= size;
    }
  }
  return [taken, places2];
}
function resumable(symbols, since, limit) {
  const places2 = /* @__PURE__ */ new Map();
  let room = limit;
  for (const symbol of symbols) {
    const place = since(symbol);
    if (place === void 0) continue;
    room -= sizeOf(symbol, place);
    if (room < 0) break;
    places2.set(symbol, place);
  }
  return places2;
}
function sizeOf(symbol, place) {
  return place === void 0 ? 0 : encode(symbol).length + encode(place).length + 2;
}

// src/session.ts
var MISSED_HEARTBEATS = 2;
var MARGIN = 1;
var SILENCE = 10;
var LOOKS = 4;
var Lost = class extends Error {
};
var NotConnected = class extends Error {
  closure;
  constructor(closure2) {
    super(closure2.reason);
    this.closure = closure2;
  }
};
var now = () => performance.now() / 1e3;
var Session = class _Session {
  version;
  messageBytes;
  /** When the connection ends by itself, unless another token is shown before: RFC 3339 in UTC. */
  expiresAt;
  /** How the connection ended, when it has. Rejects with what `onMessage` threw. */
  ended;
  #socket;
  #handlers;
  #heartbeat;
  #budget;
  #lastId = 0;
  #settle = null;
  #refuse = null;
  #announced = null;
  #isOver = false;
  #finish;
  #fail;
  #interrupt = null;
  #quietLooks = 0;
  #looker;
  /**
   * Connects with `make`, and resolves with what the gateway's first message is. Rejects with NotConnected, or BadMessage
   * if this is no gateway.
   */
  static open(make, handlers, patienceMs, signal) {
    return new Promise((resolve, reject) => {
      const socket = make();
      const fail = (error) => {
        settled();
        shut(socket);
        reject(error);
      };
      const lost = (code, reason) => fail(new NotConnected(closure(code, reason)));
      const giveUp = () => lost(LOST, "no answer");
      const timer = setTimeout(giveUp, patienceMs);
      const settled = () => {
        clearTimeout(timer);
        signal.onabort = null;
      };
      signal.onabort = giveUp;
      socket.onerror = () => {
      };
      socket.onclose = ({ code, reason }) => lost(code, reason);
      socket.onmessage = ({ data }) => {
        const session = _Session.#welcomed(socket, data, handlers);
        if (session === null) return fail(new BadMessage(beginning(data)));
        settled();
        handlers.onWelcome(session);
        resolve(session);
      };
    });
  }
  static #welcomed(socket, data, handlers) {
    try {
      return new _Session(socket, decode(data), handlers);
    } catch {
      return null;
    }
  }
  constructor(socket, welcome, handlers) {
    const limits = welcome.limits;
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
    this.ended.catch(() => {
    });
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#end(this.#announced ?? closure(code, reason));
    this.#looker = setInterval(() => this.#look(), 1e3 * this.#silence / LOOKS);
  }
  /**
   * Sends a command and resolves when it has been answered. `settle` is called with the answer before anything that
   * follows it is read. Rejects with CommandRefused, or Lost.
   */
  async ask(fields, settle) {
    await this.sleep(this.#budget.spend());
    const id = ++this.#lastId;
    try {
      await this.wait((resolve, reject) => {
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
  answered(message) {
    const id = floatOr(message.id, null);
    if (message.type === "error") {
      if (id === null || id === this.#lastId) this.#refuse?.(refusal(message));
    } else if (id === this.#lastId) this.#settle?.(message);
  }
  /** Takes the announcement of the close that follows. */
  closing(message) {
    const { code, reason, reconnect, wait } = message;
    this.#announced = { code: float(code), reason: string(reason), reconnect: Boolean(reconnect), wait: float(wait) };
  }
  /** Waits, for as long as there is the connection; one at a time. Rejects with Lost when it ends. */
  async wait(begin) {
    try {
      return await new Promise((resolve, reject) => {
        if (this.#isOver) throw new Lost();
        this.#interrupt = () => reject(new Lost());
        begin(resolve, reject);
      });
    } finally {
      this.#interrupt = null;
    }
  }
  async sleep(seconds) {
    let timer;
    if (seconds > 0) {
      await this.wait((resolve) => {
        timer = setTimeout(resolve, 1e3 * seconds);
      }).finally(() => clearTimeout(timer));
    }
  }
  /** The connection may have died unseen, as after a change of networks: if nothing comes now it is soon given up. */
  suspect() {
    if (this.#isOver || this.#quietLooks >= LOOKS) return;
    this.#quietLooks = LOOKS - 1;
    this.#handlers.onQuiet();
  }
  /** Closes it, without waiting for the other side, which may take minutes. */
  close(code, reason) {
    this.#end(closure(code, reason));
  }
  fail(error) {
    this.#fail(error);
    this.close(LOST, "");
  }
  #received(data) {
    if (this.#quietLooks >= LOOKS) this.#handlers.onHeard(true);
    this.#quietLooks = 0;
    try {
      this.#handlers.onMessage(decode(data));
    } catch (error) {
      const isBad = error instanceof TypeError || error instanceof SyntaxError;
      this.fail(isBad ? new BadMessage(beginning(data)) : error);
    }
  }
  #end(closure2) {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#looker);
    shut(this.#socket);
    this.#finish(closure2);
    this.#interrupt?.();
  }
  get #silence() {
    return this.#heartbeat > 0 ? MISSED_HEARTBEATS * this.#heartbeat + MARGIN : SILENCE;
  }
  /**
   * Silence is counted in looks, not read off a clock: a process that was stopped for a minute has looked once, and what
   * came meanwhile is read before it looks again.
   */
  #look() {
    this.#quietLooks += 1;
    if (this.#quietLooks > LOOKS * (this.#heartbeat > 0 ? 1 : 2)) {
      const seconds = this.#quietLooks * this.#silence / LOOKS;
      this.close(LOST, `nothing came for ${Math.round(seconds)} s`);
    } else if (this.#quietLooks === LOOKS) {
      this.#handlers.onHeard(false);
      if (this.#heartbeat <= 0) this.#handlers.onQuiet();
    }
  }
};
var beginning = (data) => String(data).slice(0, 200);
function shut(socket) {
  socket.onmessage = socket.onclose = null;
  socket.close();
}
function refusal(message) {
  return new CommandRefused({
    code: string(message.code),
    message: string(message.message),
    symbols: strings(message.symbols),
    reason: stringOr(message.reason, ""),
    retryAfter: floatOr(message.retry_after, null)
  });
}

// src/status.ts
var HAS_BUS = { type: "busState", connected: true, symbols: /* @__PURE__ */ new Set() };
var idle = {
  state: "idle",
  isLive: false,
  bus: HAS_BUS,
  delayed: null,
  loss: null,
  retryAt: null,
  error: null,
  version: null
};
function changed(status, change) {
  const next = { ...status, ...change };
  const hasBus = next.bus.connected || next.bus.symbols.size > 0;
  return { ...next, isLive: next.state === "live" && hasBus };
}

// src/subscriptions.ts
var PASSING = /* @__PURE__ */ new Set(["auth_unavailable", "bus_unavailable", "too_many_commands"]);
var RETRY = 1;
var Request = class {
  action;
  symbols;
  options;
  done;
  /** How what it has changed was wanted before. */
  before = /* @__PURE__ */ new Map();
  /** What the gateway has taken of `maxRate`. */
  rate = null;
  isDone = false;
  isAborted = false;
  #resolve;
  #reject;
  constructor(action, symbols, options) {
    this.action = action;
    this.symbols = symbols;
    this.options = options;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => {
    });
  }
  /** Whether it subscribes to `symbol`. */
  isFor(symbol) {
    return this.action === "subscribe" && this.symbols.includes(symbol);
  }
  resolve() {
    this.isDone = true;
    this.#resolve();
  }
  reject(error) {
    this.isDone = true;
    this.#reject(error);
  }
  abort(reason) {
    this.isAborted = !this.isDone;
    this.reject(reason);
  }
};
var Subscriptions = class {
  wanted = /* @__PURE__ */ new Map();
  #books;
  #handlers;
  #due = /* @__PURE__ */ new Set();
  #stray = /* @__PURE__ */ new Set();
  /** What this connection has by name: the gateway says nothing of it when it is asked for every symbol. */
  #named = /* @__PURE__ */ new Set();
  #requests = [];
  #wake = null;
  #isConnected = false;
  #pings = [];
  #shown = null;
  /** Whether the gateway has been asked for those of every symbol. */
  #hasSnapshots = true;
  #told = "";
  constructor(books, handlers) {
    this.#books = books;
    this.#handlers = handlers;
  }
  /** Whether ticks of `symbol` are wanted. */
  covers(symbol) {
    return this.wanted.has(symbol) || this.wanted.has(EVERYTHING);
  }
  /** Whether a message is of a symbol of which the gateway has not heard yet that it is not wanted after all. */
  isStray({ symbol }) {
    if (this.#stray.size === 0 || typeof symbol !== "string" || this.covers(symbol)) return false;
    return this.#stray.has(symbol) || this.#stray.has(EVERYTHING);
  }
  /** The rate that was taken, once the gateway has acknowledged; rejects with CommandRefused. */
  async subscribe(symbols, options, signal) {
    const request = new Request("subscribe", symbols, options);
    await this.#request(request, signal);
    return request.rate;
  }
  /** Resolves when no more ticks come; without a connection at once. */
  async unsubscribe(symbols, signal) {
    if (this.#isConnected || this.#requests.length > 0) {
      await this.#request(new Request("unsubscribe", symbols, NO_OPTIONS), signal);
    } else this.#letGo(symbols);
  }
  /** The gateway says of more of every symbol where they are, a while after its answer. */
  introduced(message) {
    const covered = places(message).filter(([symbol]) => this.covers(symbol));
    this.#books.subscribed(covered, [], this.#hasSnapshots);
  }
  /** Asks for symbols again that are not where they should be. */
  resume(symbols) {
    for (const symbol of symbols) {
      if (this.wanted.has(symbol)) this.#due.add(symbol);
      else if (this.wanted.has(EVERYTHING)) this.#due.add(EVERYTHING);
    }
    this.#wake?.();
  }
  /** Takes what the gateway says that may be seen from now on. */
  limit(lost, patterns) {
    const beginnings = patterns.filter((one) => one.endsWith("*")).map((one) => one.slice(0, -1));
    this.#letGo(lost, (symbol) => patterns.includes(symbol) || beginnings.some((one) => symbol.startsWith(one)));
    this.#handlers.emit({ type: "accessChanged", lost, patterns });
  }
  /** Asks for a sign of life; resolves with the milliseconds that it took, and never if the connection ends before. */
  ping() {
    return new Promise((resolve) => {
      this.#pings.push(resolve);
      this.#wake?.();
    });
  }
  /** Shows another token; resolves with when that one ends, if it does by itself. Rejects with CommandRefused. */
  authenticate(token) {
    return new Promise((resolve, reject) => {
      this.#shown = { token, resolve, reject };
      this.#wake?.();
    });
  }
  /** There will be no more connection: tells all who wait. */
  fail(error) {
    for (const request of this.#requests) request.reject(error);
    this.#requests = [];
  }
  /** Asks for everything on a new connection, and for whatever comes up; resolves when the connection ends. */
  async pump(session) {
    this.#due = new Set(this.wanted.keys());
    this.#requests = this.#requests.filter(({ action }) => action !== "undo");
    this.#stray.clear();
    this.#named.clear();
    this.#pings = [];
    this.#shown = null;
    this.#isConnected = true;
    try {
      for (; ; ) await this.#step(session);
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
    } finally {
      this.#isConnected = false;
    }
  }
  async #request(request, signal) {
    signal?.throwIfAborted();
    const abort = () => {
      request.abort(signal?.reason);
      this.#wake?.();
    };
    signal?.addEventListener("abort", abort);
    this.#requests.push(request);
    this.#wake?.();
    try {
      await request.done;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
  async #step(session) {
    const request = this.#requests[0];
    if (this.#shown !== null) await this.#showToken(session, this.#shown);
    else if (this.#due.size > 0) await this.#askAgain(session);
    else if (request !== void 0) {
      if (request.isAborted) this.#undo(request);
      else await this.#carryOut(session, request);
      this.#requests = this.#requests.filter((other) => other !== request);
    } else if (this.#pings.length > 0) await this.#sendPing(session);
    else {
      try {
        await session.wait((resolve) => {
          this.#wake = resolve;
        });
      } finally {
        this.#wake = null;
      }
    }
  }
  async #sendPing(session) {
    const pings = this.#pings;
    this.#pings = [];
    let sent = 0;
    const make = () => {
      sent = now();
      return { fields: { action: "ping" }, symbols: [], since: [] };
    };
    await this.#ask(session, make, () => {
      for (const resolve of pings) resolve(1e3 * (now() - sent));
    });
  }
  async #showToken(session, { token, resolve, reject }) {
    this.#shown = null;
    const command = { fields: { action: "auth", token }, symbols: [], since: [] };
    try {
      await this.#ask(
        session,
        () => command,
        (_, message) => resolve(stringOr(message.expires_at, null))
      );
    } catch (error) {
      if (!(error instanceof CommandRefused)) throw error;
      reject(error);
    }
  }
  /** For some of what is due. Every symbol goes first: what was chosen for one by name comes on top of it. */
  async #askAgain(session) {
    for (const symbol of this.#due) if (!this.wanted.has(symbol)) this.#due.delete(symbol);
    const [some] = this.#due;
    if (some === void 0) return;
    const first = this.#due.has(EVERYTHING) ? EVERYTHING : some;
    const options = this.wanted.get(first);
    const alike = [...this.#due].filter((symbol) => symbol !== first && isSame(this.wanted.get(symbol), options));
    try {
      for (const symbol of await this.#askFor(session, [first, ...alike], options)) this.#due.delete(symbol);
    } catch (error) {
      if (!(error instanceof CommandRefused) || error.code !== "access_denied") throw error;
      const denied = error.symbols.filter((symbol) => this.wanted.has(symbol));
      if (denied.length === 0) throw error;
      this.#letGo(denied);
      this.#handlers.emit({ type: "accessChanged", lost: denied, patterns: null });
    }
  }
  /** Sends as many commands as the request takes. */
  async #carryOut(session, request) {
    let left = request.symbols.filter((symbol) => request.action !== "undo" || !this.wanted.has(symbol));
    try {
      while (left.length > 0 && !request.isDone) {
        const taken = new Set(
          request.action === "subscribe" ? await this.#askFor(session, left, request.options, request) : await this.#askToEnd(session, left, request)
        );
        left = left.filter((symbol) => !taken.has(symbol));
      }
    } catch (error) {
      if (!(error instanceof CommandRefused)) throw error;
      this.#undo(request);
      if (error.symbols.length === 0) error.symbols = request.symbols;
      request.reject(error);
      return;
    }
    if (request.isAborted) this.#undo(request);
    else request.resolve();
  }
  /** Subscribes to as many of `symbols` as go into a command; returns them. */
  #askFor(session, symbols, options, request) {
    const since = (symbol) => this.#books.since(symbol);
    const others = () => [.../* @__PURE__ */ new Set([...this.wanted.keys(), ...this.#books.symbols()])].filter((symbol) => !this.#named.has(symbol));
    const make = () => subscribe(symbols, options, since, others, session.messageBytes);
    return this.#ask(
      session,
      make,
      (command, message) => this.#subscribed(command, message, options, request),
      request
    );
  }
  #subscribed(command, message, options, request) {
    if (request !== void 0) {
      request.rate = floatOr(message.max_rate, null);
      for (const symbol of command.symbols) {
        if (!request.before.has(symbol)) request.before.set(symbol, this.wanted.get(symbol));
        this.wanted.set(symbol, options);
      }
    }
    for (const symbol of command.symbols) {
      this.#stray.delete(symbol);
      this.#named.add(symbol);
    }
    if (command.symbols.includes(EVERYTHING)) this.#hasSnapshots = options.snapshot;
    this.#books.subscribed(places(message), command.since, options.snapshot);
    if (request?.isAborted) this.#undo(request);
  }
  #askToEnd(session, symbols, request) {
    const make = () => unsubscribe(symbols, session.messageBytes);
    return this.#ask(session, make, (command) => this.#letGo(command.symbols), request);
  }
  /**
   * Sends a command, built again each time, until it is not refused for passing reasons; returns its symbols. Gives up, and
   * returns none, when the caller of `request` has stopped waiting.
   */
  async #ask(session, make, settle, request) {
    this.#told = "";
    while (!request?.isDone) {
      const command = make();
      try {
        await session.ask(command.fields, (message) => settle(command, message));
        return command.symbols;
      } catch (error) {
        if (!(error instanceof CommandRefused)) throw error;
        const { code, retryAfter } = error;
        if (!PASSING.has(code) && (request !== void 0 || retryAfter === null)) throw error;
        const wait = Math.max(RETRY, retryAfter ?? 0);
        this.#delay(error, wait);
        await session.sleep(wait * (1 + Math.random() / 2));
      }
    }
    return [];
  }
  #delay({ code, text: text2, reason }, wait) {
    const why = `${code} ${reason}`;
    if (why === this.#told) return;
    this.#told = why;
    this.#handlers.emit({ type: "delayed", code, message: text2, reason, wait });
  }
  /** Wants again what was wanted before the request. */
  #undo(request) {
    const { before } = request;
    request.before = /* @__PURE__ */ new Map();
    const stray = [];
    for (const [symbol, options] of before) {
      const heir = this.#requests.find((other) => other !== request && other.isFor(symbol));
      if (heir !== void 0) heir.before.has(symbol) || heir.before.set(symbol, options);
      else if (options === void 0) stray.push(symbol);
      else {
        this.wanted.set(symbol, options);
        this.#due.add(symbol);
      }
    }
    this.#letGo(stray);
    if (stray.length > 0 && this.#isConnected) {
      for (const symbol of stray) this.#stray.add(symbol);
      this.#requests.unshift(new Request("undo", stray, NO_OPTIONS));
    }
    this.#wake?.();
  }
  #letGo(symbols, maySee = () => true) {
    for (const symbol of symbols) {
      this.wanted.delete(symbol);
      this.#due.delete(symbol);
      this.#stray.delete(symbol);
      this.#named.delete(symbol);
    }
    const stays = (symbol) => this.covers(symbol) && maySee(symbol);
    this.#books.keep(stays);
    this.#handlers.purge((symbol) => !stays(symbol));
  }
};
var NO_OPTIONS = { maxRate: null, snapshot: true };
var isSame = (a, b) => a?.maxRate === b.maxRate && a.snapshot === b.snapshot && a.trace === b.trace;
function places(message) {
  return members(message.positions).map(([symbol, value]) => {
    const place = value;
    const recovered = place.recovered === void 0 ? void 0 : Boolean(place.recovered);
    return [symbol, { seq: float(place.seq), epoch: string(place.epoch), recovered }];
  });
}

// src/client.ts
var HANDSHAKE_MS = 1e4;
var REFUSED_WAIT = 5;
var FAILED_HANDSHAKES = 3;
var Client = class {
  url;
  /** The gateway's clock at its last heartbeat: RFC 3339 in UTC. Null until there was one. */
  serverTime = null;
  #make;
  #number;
  #tokens;
  #probe;
  #connectTimeout;
  #backoff;
  #refusals;
  #inbox;
  #books;
  #subscriptions;
  #listeners = new Listeners();
  #isIterated = false;
  #latest = /* @__PURE__ */ new Map();
  #status = idle;
  #session = null;
  #isOpened = false;
  #closing = new AbortController();
  #end = null;
  #failure = null;
  #failedHandshakes = 0;
  #notBefore = 0;
  #skipPause = null;
  #opened;
  /** `url`: `wss://host/ws`; in a browser the path alone will do. Throws TypeError or RangeError for what it cannot use. */
  constructor(url, options = {}) {
    const {
      token,
      key,
      headers = {},
      connectTimeout,
      maxQueue = 1e3,
      maxAge = 1,
      refusedFor = 60,
      Decimal
    } = options;
    if (key !== void 0 && token !== void 0) throw new TypeError("key or token, not both");
    this.url = webSocketUrl(url);
    this.#number = options.number ?? (Decimal ? (digits2) => new Decimal(digits2) : (digits2) => digits2);
    this.#tokens = new Tokens(token);
    const shown = key === void 0 ? headers : { ...headers, Authorization: `Api-Key ${text("key", key)}` };
    this.#make = socketMaker(this.url, options.WebSocket, shown);
    this.#probe = options.probe;
    this.#connectTimeout = connectTimeout === void 0 ? null : atLeast(0, "connectTimeout", connectTimeout);
    this.#backoff = new Backoff(options.backoff);
    this.#refusals = new Refusals(atLeast(0, "refusedFor", refusedFor), now);
    this.#inbox = new Inbox(atLeast(1, "maxQueue", maxQueue), atLeast(0, "maxAge", maxAge), now);
    this.#books = new Books((event) => this.#emit(event));
    this.#subscriptions = new Subscriptions(this.#books, {
      emit: (event) => this.#emit(event),
      purge: (isUnwanted) => this.#purge(isUnwanted)
    });
  }
  // For its users
  /**
   * Connects, and resolves when the gateway has welcomed. Tries again as long as that may help. Rejects with Refused if it
   * cannot, with an error named TimeoutError after `connectTimeout`.
   */
  async open() {
    if (this.#isOpened) throw new Error("a client is opened once");
    if (this.#end !== null) throw this.#end;
    this.#isOpened = true;
    const opened = new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
    });
    this.#run();
    const seconds = this.#connectTimeout;
    const giveUp = () => {
      const why = this.#failure ?? "no answer";
      const error = new Error(`not connected to ${this.url} within ${seconds} s: ${why}`);
      error.name = "TimeoutError";
      this.#opened.reject(error);
    };
    const timer = seconds === null ? void 0 : setTimeout(giveUp, 1e3 * seconds);
    try {
      await opened;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return this;
  }
  /** Ends the connection and the iteration. What waits for the consumer is dropped. */
  async close() {
    this.#inbox.discard();
    this.#finish(new ClientClosed());
  }
  /**
   * Subscribes to `symbols`, all or none; `"*"` is every symbol. Resolves when the gateway has acknowledged, with the rate
   * that it has taken, which may be somewhat lower than `maxRate` (ticks a second at most, for each symbol); null for every
   * tick. `snapshot`: whether the last tick of each symbol is wanted first. `trace`: whether ticks say when
   * they were where (`Tick.trace`).
   *
   * It waits for as long as there is no connection or no bus, so give it a `signal` if that matters. Subscribing again
   * replaces the options, and the stream goes on where it is. Rejects with CommandRefused, or how the client has ended.
   */
  async subscribe(symbols, options = {}) {
    const { maxRate = null, snapshot = true, trace, signal } = options;
    const list = symbolList(symbols);
    if (maxRate !== null) atLeast(Number.MIN_VALUE, "maxRate", maxRate);
    if (this.#end !== null) throw this.#end;
    return this.#subscriptions.subscribe(list, { maxRate, snapshot: flag("snapshot", snapshot), trace }, signal);
  }
  /** Ends subscriptions; after it has resolved no event of the symbols comes. */
  async unsubscribe(symbols, options = {}) {
    const list = symbolList(symbols);
    if (this.#end !== null) throw this.#end;
    await this.#subscriptions.unsubscribe(list, options.signal);
  }
  /** What is subscribed to, in that order. */
  get symbols() {
    return [...this.#subscriptions.wanted.keys()];
  }
  get isConnected() {
    return this.#session !== null;
  }
  get status() {
    return this.#status;
  }
  /** What has happened so far. */
  get counts() {
    const { counts: counts2 } = this.#books;
    return { ...counts2, skipped: counts2.skipped + this.#inbox.skipped };
  }
  /**
   * The last price of `symbol` that came, also if it still waits for the consumer; null if there was none. The same object
   * as long as it says the same.
   */
  latest(symbol) {
    const quote2 = this.#books.last(text("symbol", symbol));
    if (quote2 === void 0) return null;
    const isStale = !this.#isFresh(symbol);
    const before = this.#latest.get(symbol);
    if (before?.quote === quote2 && before.isStale === isStale) return before;
    const latest = { quote: quote2, isStale };
    this.#latest.set(symbol, latest);
    return latest;
  }
  /**
   * Calls `listener` from now on; returns what ends that. With a listener for events, none wait for an iteration, unless
   * one has begun. A listener is called at once, however fast events come: what takes time, it should put off.
   */
  on(type, listener) {
    const end = this.#listeners.add(type, listener);
    if (type !== "status" && type !== "change" && !this.#isIterated) {
      this.#inbox.isKept = false;
      this.#inbox.discard();
    }
    return end;
  }
  /**
   * What happened, in order, for one consumer. Throws when there is no going on: ClosedForGood, Refused or BadMessage; the
   * iteration just ends when the client is closed.
   */
  [Symbol.asyncIterator]() {
    if (this.#isIterated) throw new Error("a client has one consumer");
    this.#isIterated = this.#inbox.isKept = true;
    let isOver = false;
    const over = { done: true, value: void 0 };
    return {
      next: async () => {
        if (isOver) return over;
        try {
          return { done: false, value: await this.#inbox.get() };
        } catch (error) {
          if (error instanceof ClientClosed) return over;
          throw error;
        }
      },
      return: async () => {
        if (!isOver) this.#isIterated = false;
        isOver = true;
        return over;
      }
    };
  }
  /** Asks the gateway for a sign of life; resolves with the milliseconds that it took, and never if the connection ends before. */
  ping() {
    return this.#subscriptions.ping();
  }
  /** Attempts to connect now, but not before the time that the gateway named. */
  retry() {
    if (now() >= this.#notBefore) this.#skipPause?.();
  }
  /**
   * Something is back that was away: the network, the visitor or the gateway. There is nothing to wait for, and what seems
   * to be a connection may be none any more. The first two it notices itself.
   */
  wake() {
    this.#backoff.reset();
    this.#session?.suspect();
    this.retry();
  }
  // The loop
  async #run() {
    const ignore = onReturn(() => this.wake());
    try {
      while (this.#end === null) {
        this.#show({ state: "connecting", retryAt: null });
        const event = await this.#attempt();
        if (event !== null) await this.#pause(event.wait);
      }
    } catch (error) {
      this.#finish(error);
    } finally {
      ignore();
    }
  }
  /** One connection, from beginning to end; what came of it, null if the client was closed. Throws if there should be no other. */
  async #attempt() {
    let token;
    try {
      token = await this.#tokens.next();
    } catch (error) {
      return this.#tryAgain(LOST, `no token: ${error.message}`, 0);
    }
    if (this.#end !== null) return null;
    let session;
    try {
      session = await this.#open(token);
    } catch (error) {
      if (this.#end !== null) return null;
      if (error instanceof NotConnected) return this.#notConnected(error.closure);
      return this.#refused(null, error instanceof BadMessage ? error : new Refused(null, error.message));
    }
    return this.#use(session);
  }
  #open(token) {
    const handlers = {
      onWelcome: (session) => this.#welcomed(session),
      onMessage: (message) => this.#take(message),
      onHeard: (isHeard) => {
        this.#show({ state: isHeard ? "live" : "silent" });
        this.#listeners.call("change", void 0);
      },
      onQuiet: () => void this.ping()
    };
    return Session.open(() => this.#make(token), handlers, HANDSHAKE_MS, this.#closing.signal);
  }
  async #notConnected({ code, reason, reconnect, wait }) {
    if (!reconnect) throw new ClosedForGood(code, reason);
    if (code !== LOST) return this.#tryAgain(code, reason, wait, true);
    const status = await this.#probe?.().catch(() => 0) ?? 0;
    if (this.#end !== null) return null;
    this.#failedHandshakes = status === 200 ? this.#failedHandshakes + 1 : 0;
    if (status === 401 || status === 403) return this.#refused(status, new Refused(status, `HTTP ${status}`));
    if (this.#failedHandshakes >= FAILED_HANDSHAKES) {
      return this.#refused(null, new Refused(null, "only HTTP succeeds"));
    }
    this.#refusals.interrupted();
    return this.#tryAgain(code, reason, status === 429 ? REFUSED_WAIT : 0);
  }
  #refused(status, error) {
    const left = this.#refusals.left();
    if (left <= 0) throw error;
    const reason = error instanceof Refused ? error.reason : error.message;
    return this.#tryAgain(LOST, reason, status === null ? 0 : Math.min(left, REFUSED_WAIT), true);
  }
  #tryAgain(code, reason, least, isRefused = false) {
    this.#failure = reason;
    return this.#lost({ code, reason, wasConnected: false, isRefused }, least, 0);
  }
  #welcomed(session) {
    this.#session = session;
    this.#failedHandshakes = 0;
    this.#refusals.welcomed();
    this.#show({ state: "live", bus: HAS_BUS, delayed: null, loss: null, version: session.version });
    this.#emit({ type: "connected", version: session.version });
    this.#opened.resolve();
  }
  /** Reads until the connection ends, while another loop asks for what is wanted. */
  async #use(session) {
    const began = now();
    this.#tokens.keepFresh(session.expiresAt, (token) => this.#subscriptions.authenticate(token));
    const pump = this.#subscriptions.pump(session).catch((error) => session.fail(error));
    let closure2;
    try {
      if (this.#end !== null) session.close(1e3, "");
      closure2 = await session.ended;
    } finally {
      this.#tokens.stop();
      this.#books.disconnected();
      await pump;
      this.#session = null;
    }
    if (this.#end !== null) return null;
    if (!closure2.reconnect) throw new ClosedForGood(closure2.code, closure2.reason);
    this.#backoff.ended(now() - began);
    const { code, reason, wait } = closure2;
    return this.#lost({ code, reason, wasConnected: true, isRefused: false }, wait, wait);
  }
  /** `least`: how long to wait before the backoff, and `firm`, how much of it even who asks to try now. */
  #lost(loss, least, firm) {
    const { code, reason, wasConnected } = loss;
    const wait = least + this.#backoff.next();
    const event = { type: "disconnected", code, reason, wait };
    this.#notBefore = now() + firm;
    this.#show({ state: "waiting", retryAt: Date.now() + 1e3 * wait, loss, delayed: null });
    this.#inbox.put(event, !wasConnected);
    this.#tell(event);
    this.#listeners.call("change", void 0);
    return event;
  }
  async #pause(seconds) {
    if (this.#end !== null) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 1e3 * seconds);
      this.#skipPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#skipPause = null;
  }
  /** What a message means. Types that are not known are for newer clients. */
  #take(message) {
    const { type } = message;
    if (this.#subscriptions.isStray(message)) return;
    if (type === "tick" || type === "snapshot") {
      const price = quote(message, this.#number);
      if (message.skipped) this.#books.conflated("rate", [[price.symbol, float(message.skipped)]]);
      this.#books.quote(price);
    } else if (type === "conflated") this.#books.conflated(string(message.reason), counts(message.skipped));
    else if (type === "gap") {
      const { symbol, missed, seq, epoch } = message;
      this.#books.gap(string(symbol), floatOr(missed, null), floatOr(seq, 0), string(epoch));
    } else if (type === "heartbeat") {
      this.serverTime = stringOr(message.time, this.serverTime);
      if (message.seqs === void 0) return;
      this.#subscriptions.resume(this.#books.heartbeat(counts(message.seqs)));
    } else if (type === "introduced") this.#subscriptions.introduced(message);
    else if (type === "error" || message.id !== void 0) this.#answered(message);
    else if (type === "bus") this.#bus(Boolean(message.connected), new Set(strings(message.symbols)));
    else if (type === "access") this.#subscriptions.limit(strings(message.lost), strings(message.patterns));
    else if (type === "closing") this.#session?.closing(message);
    this.#listeners.call("change", message.symbol);
  }
  #answered(message) {
    this.#session?.answered(message);
    if (message.type !== "error" && this.#status.delayed !== null) this.#show({ delayed: null });
  }
  #bus(connected, symbols) {
    const bus = { type: "busState", connected, symbols };
    this.#show({ bus });
    this.#emit(bus);
  }
  #isFresh(symbol) {
    const { state, bus } = this.#status;
    const hasBus = bus.connected || bus.symbols.size > 0 && !bus.symbols.has(symbol);
    return state === "live" && hasBus && this.#books.isCurrent(symbol);
  }
  #emit(event) {
    this.#inbox.put(event);
    if (event.type === "delayed") this.#show({ delayed: event });
    this.#tell(event);
  }
  #tell(event) {
    this.#listeners.call(event.type, event);
    this.#listeners.call("event", event);
  }
  #show(change) {
    this.#status = changed(this.#status, change);
    this.#listeners.call("status", this.#status);
  }
  #purge(isUnwanted) {
    this.#inbox.purge(isUnwanted);
    for (const symbol of this.#latest.keys()) if (isUnwanted(symbol)) this.#latest.delete(symbol);
    this.#listeners.call("change", void 0);
  }
  /** There will be no connection any more: tells everybody who waits. */
  #finish(end) {
    if (this.#end === null) {
      this.#end = end;
      this.#show({ state: "closed", retryAt: null, error: end });
      this.#listeners.call("change", void 0);
    }
    this.#inbox.finish(this.#end);
    this.#subscriptions.fail(this.#end);
    this.#closing.abort();
    this.#tokens.stop();
    this.#session?.close(1e3, "");
    this.#skipPause?.();
    this.#opened?.reject(this.#end);
  }
};

// src/ledger.ts
var Ledger = class {
  /** How many ticks the streams had since the consumer came to them. */
  streamed = 0;
  received = 0;
  skipped = { slow: 0, rate: 0 };
  missed = 0;
  /** Streams that began again, with an unknown number of ticks lost. */
  restarted = 0;
  #lines = /* @__PURE__ */ new Map();
  get unaccounted() {
    return this.streamed - this.received - this.skipped.slow - this.skipped.rate - this.missed;
  }
  take(event) {
    if (!("symbol" in event)) return;
    const line = this.#lines.get(event.symbol);
    if (event.type === "gap" && event.missed === null) {
      if (line !== void 0) this.restarted += 1;
      this.#lines.delete(event.symbol);
    } else if (line === void 0) {
      if ("price" in event) this.#lines.set(event.symbol, { seq: event.seq, slow: 0, rate: 0, missed: 0 });
    } else if (event.type === "gap") line.missed += event.missed ?? 0;
    else if (event.type === "conflated") line[event.reason === "rate" ? "rate" : "slow"] += event.skipped;
    else this.#advance(line, event.seq);
  }
  #advance(line, seq) {
    this.streamed += seq - line.seq;
    this.received += 1;
    this.skipped.slow += line.slow;
    this.skipped.rate += line.rate;
    this.missed += line.missed;
    Object.assign(line, { seq, slow: 0, rate: 0, missed: 0 });
  }
};
export {
  BadMessage,
  Client,
  ClientClosed,
  ClientError,
  ClosedForGood,
  CommandRefused,
  EVERYTHING,
  Ledger,
  Refused,
  closure
};

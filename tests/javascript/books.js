// Plays histories to the JavaScript client's books and prints what they say, for test_books.py.

import { readFileSync } from "node:fs";
import { Books } from "../../clients/javascript/src/books.ts";

const A = "AAPL";

const steps = {
  tick: (books, seq) => books.quote({ type: "tick", symbol: A, seq }),
  snapshot: (books, seq, epoch) => books.quote({ type: "snapshot", symbol: A, seq, epoch }),
  conflated: (books, reason, count) => books.conflated(reason, [[A, count]]),
  gap: (books, missed, seq, epoch) => books.gap(A, missed, seq, epoch),
  heartbeat: (books, seq) => books.heartbeat([[A, seq]]),
  subscribed(books, seq, epoch, recovered, snapshot) {
    const asked = books.since(A) === undefined ? [] : [A];
    books.subscribed([[A, { seq, epoch, recovered: recovered ?? undefined }]], asked, snapshot);
  },
  forgotten: (books) => books.subscribed([], books.since(A) === undefined ? [] : [A], true),
  disconnected: (books) => books.disconnected(),
};

function told({ type, ...event }) {
  if (type === "gap") return [type, event.missed, event.reason, event.seq, event.epoch];
  if (type === "conflated") return [type, event.skipped, event.reason];
  return [type, event.seq];
}

const histories = JSON.parse(readFileSync(0, "utf8"));
const said = histories.map((history) => {
  const events = [];
  const books = new Books((event) => events.push(told(event)));
  for (const [name, ...values] of history) steps[name](books, ...values);
  const { repeated, gaps, missed, skipped } = books.counts;
  const since = books.since(A) ?? null;
  return { events, since, isCurrent: books.isCurrent(A), counts: [repeated, gaps, missed, skipped] };
});
console.log(JSON.stringify(said));

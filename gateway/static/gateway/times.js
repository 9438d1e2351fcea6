// Times for people: the clock in their own time zone, and how long ago.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "2-digit" });

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** 15:04:05 for a Date of the last or next few hours, else its day. */
export function clockTime(date, now = Date.now()) {
  return Math.abs(now - date) < (DAY / 2) * 1000 ? clock.format(date) : day.format(date);
}

/** How long ago `date` was, in one short word: now, 12s, 3m, 2h, 5d. A clock that is a little ahead is no matter. */
export function age(date, now = Date.now()) {
  const seconds = Math.floor((now - date) / 1000);
  if (seconds < 1) return "now";
  if (seconds < MINUTE) return `${seconds}s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)}m`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)}h`;
  return `${Math.floor(seconds / DAY)}d`;
}

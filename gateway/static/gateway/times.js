// Times for people: on the clock of their own time zone, and as an age.

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "2-digit" });

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * 15:04:05 for a time less than twelve hours away, else its day.
 * @param {number} time in ms since the Unix epoch
 * @param {number} now
 */
export function clockTime(time, now = Date.now()) {
  return Math.abs(now - time) < (DAY / 2) * 1000 ? secondOf(time) : day.format(time);
}

// Most ticks that are shown are of one second.
let formatted = { second: Number.NaN, text: "" };

/** @param {number} time */
function secondOf(time) {
  const second = Math.floor(time / 1_000);
  if (second !== formatted.second) formatted = { second, text: clock.format(time) };
  return formatted.text;
}

/**
 * How long ago `time` was, in one short word: now, 12s, 3m, 2h, 5d. A time that is yet to come counts as now.
 * @param {number} time in ms since the Unix epoch
 * @param {number} now
 */
export function age(time, now = Date.now()) {
  const seconds = Math.floor((now - time) / 1000);
  if (seconds < 1) return "now";
  if (seconds < MINUTE) return `${seconds}s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)}m`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)}h`;
  return `${Math.floor(seconds / DAY)}d`;
}

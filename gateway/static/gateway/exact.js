// The little arithmetic that a table needs, on the digits of prices: a double would lose some of them.

const PLAIN = /^(-?)(\d+)(?:\.(\d+))?$/;

/**
 * `a - b` for two numbers written without exponent, with the decimals of the more precise one.
 * @param {string} a
 * @param {string} b
 */
export function subtract(a, b) {
  const decimals = Math.max(decimalsOf(a), decimalsOf(b));
  return digits(units(a, decimals) - units(b, decimals), decimals);
}

/**
 * -1, 0 or 1: how `a` compares to `b`.
 * @param {string} a
 * @param {string} b
 */
export function compare(a, b) {
  if (a === b) return 0;
  const decimals = Math.max(decimalsOf(a), decimalsOf(b));
  const difference = units(a, decimals) - units(b, decimals);
  return difference > 0n ? 1 : difference < 0n ? -1 : 0;
}

/** @param {string} number */
function decimalsOf(number) {
  const point = number.indexOf(".");
  return point < 0 ? 0 : number.length - point - 1;
}

/**
 * @param {string} number
 * @param {number} decimals
 */
function units(number, decimals) {
  const match = PLAIN.exec(number);
  if (match === null) throw new SyntaxError(`Not a plain number: ${number}`);
  const [, sign, whole, fraction = ""] = match;
  const size = BigInt(whole + fraction.padEnd(decimals, "0"));
  return sign ? -size : size;
}

/**
 * @param {bigint} size
 * @param {number} decimals
 */
function digits(size, decimals) {
  const text = (size < 0n ? -size : size).toString().padStart(decimals + 1, "0");
  const sign = size < 0n ? "-" : "";
  const point = text.length - decimals;
  return sign + (decimals ? `${text.slice(0, point)}.${text.slice(point)}` : text);
}

// Numbers as the text they were sent as. JSON.parse makes 150.250 into 150.25 and loses digits beyond a double's, so
// numbers are read as strings, and the little arithmetic a table needs is done on their digits.

// A string (to skip over) or a number, in JSON's own grammar. Text that is not JSON is still not JSON after quoting.
const TOKEN = /"(?:[^"\\]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const PLAIN = /^(-?)(\d+)(?:\.(\d+))?$/;

/**
 * The value of the JSON `text`, every number in it as a string of its digits; throws SyntaxError if it is not JSON.
 * @param {string} text
 * @returns {unknown}
 */
export function parse(text) {
  return JSON.parse(text.replace(TOKEN, (token) => (token[0] === '"' ? token : `"${token}"`)));
}

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

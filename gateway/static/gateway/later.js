// Work that is done once for many calls.

/**
 * A function that does `work` once for all calls within `ms`, at their end.
 * @param {() => void} work
 */
export function later(work, ms = 200) {
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, ms);
  };
}

/** `work`, to be called as often as one likes: it is done once for all calls within `ms`. */
export function later(work, ms = 200) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, ms);
  };
}

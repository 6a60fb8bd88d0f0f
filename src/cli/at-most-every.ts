/** Leaves out calls that follow the last one within so many milliseconds. */
export function atMostEvery<T extends unknown[]>(milliseconds: number, act: (...values: T) => void): (...values: T) => void {
  let last = -Infinity;
  return (...values) => {
    if (Date.now() - last < milliseconds) return;
    last = Date.now();
    act(...values);
  };
}

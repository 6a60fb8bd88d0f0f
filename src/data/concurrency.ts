/** `Promise.all(items.map(run))` with at most `limit` running; the first error ends it, and nothing new is started. */
export async function mapConcurrently<In, Out>(items: readonly In[], limit: number, run: (item: In, index: number) => Promise<Out>): Promise<Out[]> {
  const out = new Array<Out>(items.length);
  let next = 0, failed = false;
  const lane = async () => {
    while (next < items.length && !failed) {
      const index = next++;
      try {
        out[index] = await run(items[index]!, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  return out;
}

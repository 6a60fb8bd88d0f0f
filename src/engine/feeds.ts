import type { HostTensors, TensorSpec } from './program';

/** Throws when a feed is missing, unknown, or of the wrong shape or type: engines themselves do not all check. */
export function checkFeeds(program: string, specs: readonly TensorSpec[], feeds: HostTensors): void {
  for (const { name, shape, dtype } of specs) {
    const feed = feeds[name];
    if (!feed) throw new Error(`program '${program}': no feed '${name}'`);
    const size = shape.reduce((a, b) => a * b, 1);
    if (feed.shape.length !== shape.length || feed.shape.some((d, i) => d !== shape[i]) || feed.data.length !== size) {
      throw new Error(`program '${program}': feed '${name}' is [${feed.shape.join(', ')}] with ${feed.data.length} values, expected [${shape.join(', ')}]`);
    }
    const right = dtype === 'bool' ? feed.data instanceof Uint8Array : feed.data instanceof Float32Array;
    if (!right) throw new Error(`program '${program}': feed '${name}' is not ${dtype}`);
  }
  const unknown = Object.keys(feeds).find(name => !specs.some(spec => spec.name === name));
  if (unknown !== undefined) throw new Error(`program '${program}': unknown feed '${unknown}'`);
}

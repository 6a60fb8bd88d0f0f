/**
 * Writes the programs of kernel-cases.ts as the native engine runs them, with what they read and what the reference makes of it:
 * `node dist/tools/emulate-kernels.cjs FILE VARIANT`. Numbers are of 64 bits, but for what buffers hold; emulate-kernels.c reads it.
 * Prints the variant's compiler flags, a JSON array.
 */
import fs from 'node:fs';
import { engines } from '../src/engine/engines';
import { optimize } from '../src/engine/graph/passes';
import { trace } from '../src/engine/graph/trace';
import { planProgram, type BufferSpec, type Plan } from '../src/engine/native/plan';
import { kernelFlags, kernelVariants } from '../src/engine/native/sources';
import type { HostTensors } from '../src/engine/program';
import { kernelCases, type KernelCase } from '../test/fixtures/kernel-cases';

void main(process.argv[2]!, process.argv[3]!);

async function main(file: string, variant: string): Promise<void> {
  const parts = [numbers(Object.keys(kernelCases).length)];
  for (const [name, kernelCase] of Object.entries(kernelCases)) parts.push(...await partsOf(name, kernelCase));
  fs.writeFileSync(file, Buffer.concat(parts));
  const own = ['x64', 'arm64'].flatMap(arch => kernelVariants(arch)).find(({ name }) => name === variant)!;
  process.stdout.write(JSON.stringify([...kernelFlags, ...own.flags]));
}

async function partsOf(name: string, { program, feeds }: KernelCase): Promise<Buffer[]> {
  const plan = planProgram(optimize(await trace({ program, state: {}, constants: {} }), { without: ['fold-scales'] }), { layOutWeights: false });
  const session = await engines.cpu.open({ programs: { program }, state: {}, constants: {}, threads: 1 });
  const expected = await session.call('program', feeds);
  await session.dispose();
  const fetches = Object.entries(expected).map(([fetch, { data }]) => ({ data, buffer: plan.buffers.findIndex(spec => spec.kind === 'fetch' && spec.name === fetch) }));
  return [
    text(name), bytes(plan.words), numbers(plan.buffers.length), ...plan.buffers.map(spec => bytes(contentsOf(spec, plan, { feeds, expected }))),
    numbers(fetches.length), ...fetches.flatMap(({ data, buffer }) => [numbers(buffer), bytes(data)]),
  ];
}

/** What lies in a buffer when the program begins. */
function contentsOf(spec: BufferSpec, plan: Plan, { feeds, expected }: { feeds: HostTensors; expected: HostTensors }): ArrayBufferView {
  switch (spec.kind) {
    case 'block': return new Uint8Array(plan.blockBytes);
    case 'literals': return plan.literals;
    case 'feed': return feeds[spec.name]!.data;
    case 'fetch': return new Float32Array(expected[spec.name]!.data.length);
    default: throw new Error(`these programs have no ${spec.kind}`);
  }
}

function numbers(...values: number[]): Buffer {
  return Buffer.from(Float64Array.from(values).buffer);
}

function text(value: string): Buffer {
  return bytes(Buffer.from(value));
}

/** With their number before them. */
function bytes(view: ArrayBufferView): Buffer {
  return Buffer.concat([numbers(view.byteLength), Buffer.from(view.buffer, view.byteOffset, view.byteLength)]);
}

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { normals, streamKey } from '../../../src/common/random';
import type { HostTensors } from '../../../src/engine/program';
import { diffAdapters } from '../../../src/exchange/diff';
import { singularValues, symmetricEigenvalues } from '../../../src/exchange/singular-values';
import type { Adapter } from '../../../src/peft/adapter';
import { initialize } from '../../../src/peft/initialize';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { adapterTensors } from '../../../src/peft/trainable';
import type { Backbone } from '../../../src/vit/weights';
import { tinyArchitecture as architecture, tinyBackbone } from '../../fixtures/tiny-vit';

const base = tinyBackbone();
const normalization = { mean: [0, 0, 0], std: [1, 1, 1] } as { mean: [number, number, number]; std: [number, number, number] };
const backbone: Backbone = { file: 'tiny', architecture, tensors: base, fingerprint: 'f', normalization, warnings: [], projection: null };

describe('singular values', () => {
  for (const [rows, columns, values] of [[5, 9, [9, 4, 1, 0.5, 0.01]], [120, 70, [5, 5, 2, 1e-3]], [70, 200, [3, 2, 1]], [80, 80, Array.from({ length: 80 }, (_, i) => 80 - i)], [1, 4, [2]], [2, 2, [1, 0]]] as const) {
    it(`of a ${rows} x ${columns} matrix of rank ${values.filter(v => v > 0).length} are those that it was made from`, () => {
      const matrix = madeFrom(values, rows, columns);
      const found = singularValues(matrix, rows, columns);
      values.forEach((value, i) => assert.ok(Math.abs((found[i] ?? 0) - value) <= 1e-6 * values[0]!, `${i}: ${found[i]} instead of ${value}`));
      for (const rest of found.slice(values.length)) assert.ok(rest <= 1e-6 * values[0]!, String(rest));
    });
  }

  it('leaves out what is noise', () => {
    const matrix = madeFrom([4, 2], 90, 100).map((value, i) => value + 1e-5 * normals(streamKey(9, i), 1)[0]!);
    assert.equal(singularValues(matrix, 90, 100, { noise: 1e-5 * (Math.sqrt(90) + Math.sqrt(100)) }).length, 2);
    assert.equal(singularValues(matrix, 90, 100).length, 90);
  });

  it('come from eigenvalues that add up to the trace', () => {
    assert.deepEqual(symmetricEigenvalues(Float64Array.of(2, 1, 1, 2), 2).map(v => Math.round(v * 1e12) / 1e12).sort(), [1, 3]);
    assert.deepEqual(symmetricEigenvalues(Float64Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0), 3), [0, 0, 0]);
  });
});

describe('difference of two adapters', () => {
  it('knows norm, rank and angle of the folded changes', () => {
    const a = adapterOf('lora', { rank: 1, targets: ['q'], blocks: [0] }, tensors => {
      fill(tensors, 'blocks.0.attn.lora.lora_a.weight', i => (i === 0 ? 1 : 0));
      fill(tensors, 'blocks.0.attn.lora.lora_b.weight', i => (i === 3 ? 2 : 0));
    });
    const b = adapterOf('lora', { rank: 2, targets: ['q'], blocks: [0] }, tensors => {
      fill(tensors, 'blocks.0.attn.lora.lora_a.weight', i => (i === 0 || i === 17 ? 1 : 0)); // rows: first and second unit vector
      fill(tensors, 'blocks.0.attn.lora.lora_b.weight', i => (i === 6 || i === 9 ? 1 : 0)); // column 0 to row 3, column 1 to row 4
    });
    const { compared, layers } = diffAdapters({ adapters: [a, b], backbone });
    assert.equal(compared, 'weights');
    assert.deepEqual(layers.map(({ name }) => name), ['blocks.0.attn.qkv.weight']);
    const [layer] = layers;
    close(layer!.norms, [2, Math.SQRT2]);
    close(layer!.effectiveRanks, [1, 2]);
    assert.ok(Math.abs(layer!.angle! - 45) < 1e-3, String(layer!.angle)); // the change of b has the direction of a as one of two
  });

  it('of an adapter with itself is an angle of 0, with its opposite 180', () => {
    const a = adapterOf('fact-tt', {}, () => undefined);
    const { layers } = diffAdapters({ adapters: [a, a], backbone });
    assert.ok(layers.length >= 8 && layers.every(({ angle }) => angle! < 0.1));
    const opposite = adapterOf('fact-tt', {}, tensors => fill(tensors, 'blocks.0.attn.fact.FacTv.weight', (_, value) => -value));
    for (const { angle, name } of diffAdapters({ adapters: [a, opposite], backbone }).layers) assert.ok(angle! > 179, `${name}: ${angle}`);
  });

  it('compares methods of different kinds by what they do to the weights', () => {
    const { layers } = diffAdapters({ adapters: [adapterOf('bitfit', {}, grow), adapterOf('ssf', {}, () => undefined)], backbone });
    const bias = layers.find(({ name }) => name === 'blocks.1.mlp.fc1.bias')!, weight = layers.find(({ name }) => name === 'blocks.1.mlp.fc1.weight')!;
    assert.ok(bias.norms.every(n => n! > 0) && bias.angle !== null && bias.effectiveRanks.every(rank => rank === null));
    assert.deepEqual([weight.norms[0], weight.angle], [null, null]);
  });

  it('compares the adapters\' own tensors where nothing can be folded, and says so', () => {
    const [a, b] = [1, 2].map(seed => adapterOf('adaptformer', {}, () => undefined, seed)) as [Adapter, Adapter];
    const own = diffAdapters({ adapters: [a, b], backbone });
    assert.equal(own.compared, 'tensors');
    assert.match(own.reason!, /cannot be folded/);
    assert.ok(own.layers.every(({ name, angle }) => name.includes('ft_mlp_module') && (angle === null || (angle > 60 && angle < 120))));
    assert.throws(() => diffAdapters({ adapters: [a, adapterOf('lora', {}, () => undefined)], backbone }), /no name in common/);
    assert.match(diffAdapters({ adapters: [a, b], backbone: null }).reason!, /without a backbone/);
  });

  it('refuses adapters of two backbones', () => {
    const a = adapterOf('lora', {}, () => undefined), b = adapterOf('lora', {}, () => undefined);
    b.manifest.backbone.fingerprint = 'g';
    assert.throws(() => diffAdapters({ adapters: [a, b], backbone: null }), /trained on tiny, and the other/);
  });
});

function adapterOf(id: string, options: Record<string, unknown>, change: (tensors: HostTensors) => void, seed = 1): Adapter {
  const method = findMethod(id), parsed = parseMethodOptions(id, options);
  const tensors = initialize(adapterTensors({ architecture, method, options: parsed, classes: 3 }), { base, seed });
  change(tensors);
  return {
    folder: id, tensors,
    manifest: {
      method: { id, version: method.version, options: parsed }, backbone: { name: 'tiny', fingerprint: 'f', architecture }, classes: ['a', 'b', 'c'],
      normalization, resize: 'stretch', certificate: null, libraryVersion: '0',
    },
  };
}

function fill(tensors: HostTensors, name: string, value: (index: number, before: number) => number): void {
  const { data } = tensors[name]!;
  data.forEach((before, i) => { data[i] = value(i, before); });
}

function grow(tensors: HostTensors): void {
  for (const name of Object.keys(tensors)) fill(tensors, name, (i, before) => before + 0.1 * Math.sin(i));
}

function close(found: readonly (number | null)[], expected: readonly number[]): void {
  expected.forEach((value, i) => assert.ok(Math.abs(found[i]! - value) < 1e-4, `${found.join()} instead of ${expected.join()}`));
}

/** U diag(values) V^T with random orthonormal U and V. */
function madeFrom(values: readonly number[], rows: number, columns: number): Float64Array {
  const [u, v] = [rows, columns].map((size, side) => orthonormal(values.length, size, side)) as [Float64Array[], Float64Array[]];
  return Float64Array.from({ length: rows * columns }, (_, at) => values.reduce((sum, value, k) => sum + value * u[k]![Math.floor(at / columns)]! * v[k]![at % columns]!, 0));
}

function orthonormal(count: number, size: number, seed: number): Float64Array[] {
  const found: Float64Array[] = [];
  for (let k = 0; k < count; k++) {
    const vector = Float64Array.from(normals(streamKey(seed, 'vector', k), size));
    for (let round = 0; round < 2; round++) for (const known of found) {
      const dot = vector.reduce((sum, x, i) => sum + x * known[i]!, 0);
      vector.forEach((_, i) => { vector[i]! -= dot * known[i]!; });
    }
    const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
    found.push(vector.map(x => x / length));
  }
  return found;
}

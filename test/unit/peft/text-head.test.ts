/** A head from text embeddings: zero-shot logits as CLIP computes them, at the start and at alpha = 0 of WiSE. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { normals, streamKey } from '../../../src/common/random';
import type { HostTensor, HostTensors } from '../../../src/engine/program';
import { openSafetensors, writeSafetensors, type TensorToWrite } from '../../../src/interop/safetensors';
import { interpolate } from '../../../src/peft/interpolate';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { readTextEmbeddings, textHead } from '../../../src/peft/text-head';
import { countParameters } from '../../../src/peft/count';
import { frozenTensors, initialState, prepareModel, type Model } from '../../../src/train/model';
import { evaluationProgram, gradientProgram } from '../../../src/train/program';
import { targetFeeds } from '../../../src/train/targets';
import { presets } from '../../../src/vit/presets';
import { loadBackbone, readProjection, type Backbone } from '../../../src/vit/weights';
import { engineIds, engineOrSkip } from '../../fixtures/engines';

const clip = path.resolve(process.cwd(), 'test/fixtures/backbones/hf-clip');
const classes = ['cat', 'dog', 'bird'], width = 12;

let folder: string;
before(() => { folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-texts-')); });
after(() => fs.rmSync(folder, { recursive: true, force: true }));

const texts: TensorToWrite & { data: Float32Array } = { shape: [3, width], data: Float32Array.from(normals(streamKey(5, 'texts'), 3 * width)) };
const scale: TensorToWrite = { shape: [], data: Float32Array.of(Math.log(100)) };

async function write(tensors: Record<string, TensorToWrite>, metadata: Record<string, string> = { classes: JSON.stringify(classes) }): Promise<string> {
  const file = path.join(fs.mkdtempSync(path.join(folder, 'case-')), 'texts.safetensors');
  await writeSafetensors(file, tensors, metadata);
  return file;
}

describe('text embeddings', () => {
  it('are taken by class name, at unit length', async () => {
    const file = await write({ text_embeddings: texts, logit_scale: scale });
    const { rows, logitScale, warnings } = await readTextEmbeddings({ file, classes: ['bird', 'cat'], width });
    assert.deepEqual([rows.shape, warnings], [[2, width], []]);
    assert.ok(Math.abs(logitScale - 4.60517) < 1e-5);
    const bird = texts.data.subarray(2 * width), length = Math.hypot(...bird);
    for (let i = 0; i < width; i++) assert.ok(Math.abs(rows.data[i]! - bird[i]! / length) < 1e-6);
  });

  it('of several templates are averaged at unit length, in the order of the data set where no names are given', async () => {
    const many = { shape: [2, 2, 2], data: Float32Array.of(2, 0, 0, 5, 1, 0, 1, 0) };
    const file = await write({ text_embeddings: many, logit_scale: { shape: [1], data: Float32Array.of(1) } }, {});
    const { rows, warnings } = await readTextEmbeddings({ file, classes: ['a', 'b'], width: 2 });
    assert.deepEqual([...rows.data].map(x => Number(x.toFixed(5))), [0.70711, 0.70711, 1, 0]);
    assert.match(warnings[0]!, /order a, b/);
  });

  const refused: [name: string, tensors: () => Record<string, TensorToWrite>, message: RegExp, metadata?: Record<string, string>][] = [
    ['another model\'s', () => ({ text_embeddings: { shape: [3, 4], data: new Float32Array(12) }, logit_scale: scale }), /have 4 numbers, and the backbone's projection gives 12/],
    ['a missing class', () => ({ text_embeddings: texts, logit_scale: scale }), /no embedding for "dog"/, { classes: '["cat","bird","fish"]' }],
    ['another number of classes', () => ({ text_embeddings: texts, logit_scale: scale }), /3 rows, and the data set has 2 classes/, {}],
    ['no embeddings', () => ({ embeddings: texts, logit_scale: scale }), /no tensor "text_embeddings" \(it has embeddings, logit_scale\)/],
    ['no scale', () => ({ text_embeddings: texts }), /no tensor "logit_scale"/],
    ['a scale that is no logarithm', () => ({ text_embeddings: texts, logit_scale: { shape: [], data: Float32Array.of(100) } }), /"logit_scale" is 100; what CLIP stores is the logarithm/],
    ['nonsense for names', () => ({ text_embeddings: texts, logit_scale: scale }), /not a JSON list/, { classes: 'cat, dog' }],
  ];
  for (const [name, tensors, message, metadata] of refused) {
    it(`are refused for ${name}`, async () => {
      const file = await write(tensors(), metadata);
      await assert.rejects(readTextEmbeddings({ file, classes: ['cat', 'dog'], width }), message);
    });
  }
});

describe('a head from texts', () => {
  const batch = 2;
  let backbone: Backbone, head: HostTensors, expected: HostTensors;
  before(async () => {
    backbone = await loadBackbone({ file: path.join(clip, 'model.safetensors'), projection: width });
    const file = await write({ text_embeddings: texts, logit_scale: scale });
    head = textHead(await readTextEmbeddings({ file, classes, width }), await readProjection(backbone.file));
    expected = await readTensors(path.join(clip, 'expected.safetensors'));
  });

  /** exp(scale) * cosine of transformers' own image embeddings and the texts. */
  function zeroShot(): number[] {
    const rowOf = (data: ArrayLike<number>, row: number) => Array.from({ length: width }, (_, i) => data[row * width + i]!);
    return Array.from({ length: batch * 3 }, (_, i) => {
      const [image, text] = [rowOf(expected['embeddings']!.data, Math.floor(i / 3)), rowOf(texts.data, i % 3)];
      return 100 * image.reduce((sum, x, k) => sum + x * text[k]!, 0) / Math.hypot(...image) / Math.hypot(...text);
    });
  }

  const model = (method: string, options: unknown = {}) => prepareModel({
    architecture: backbone.architecture, method: findMethod(method), options: parseMethodOptions(method, options), classes: 3, batch, dropPath: 0, dropout: false,
  });

  async function logitsOf(t: Parameters<typeof engineOrSkip>[0], id: typeof engineIds[number], own: Pick<Model, 'method' | 'options'>, tensors: { base: HostTensors; adapter: HostTensors }): Promise<number[] | null> {
    const engine = await engineOrSkip(t, id);
    if (!engine) return null;
    const spec = { architecture: backbone.architecture, classes: 3, batch, ...own };
    const session = await engine.open({ programs: { evaluate: evaluationProgram(spec) }, state: tensors.adapter, constants: without(tensors.base, tensors.adapter), threads: 1 });
    try {
      return [...(await session.call('evaluate', { patches: patchRows(expected['images']!) }))['logits']!.data];
    } finally {
      await session.dispose();
    }
  }

  for (const id of engineIds) {
    it(`gives CLIP's zero-shot logits on ${id}`, async t => {
      const own = await model('linear');
      const logits = await logitsOf(t, id, own, { base: backbone.tensors, adapter: head });
      if (logits) assertClose(logits, zeroShot(), 1e-3);
    });
  }

  it('is where WiSE begins, and the trained one where it ends', async t => {
    for (const [method, options] of [['lora', { rank: 2 }], ['bitfit', {}]] as const) {
      const own = await model(method, options);
      const start = { ...initialState(own, { base: backbone.tensors, seed: 1 }), ...head };
      const trained = Object.fromEntries(own.trainables.map(({ name }) => [name, shifted(start[name]!, name)]));
      const at = async (alpha: number) => {
        const between = interpolate({ ...own, base: backbone.tensors, trained, frozenHead: head, alpha });
        return logitsOf(t, 'cpu', between, { base: between.backbone, adapter: between.adapter });
      };
      assertClose((await at(0))!, zeroShot(), 1e-3);
      assertClose((await at(1))!, (await logitsOf(t, 'cpu', own, { base: backbone.tensors, adapter: trained }))!, 1e-3);
    }
  });

  it('has the gradient of its loss', async t => {
    const own = await model('linear');
    const engine = await engineOrSkip(t, 'cpu');
    if (!engine) return;
    const feeds = { patches: patchRows(expected['images']!), ...targetFeeds(Int32Array.of(0, 2), { classes: 3, labelSmoothing: 0, classWeights: null }) };
    // With a small scale, or float32 leaves nothing of a difference.
    const state: HostTensors = { ...head, 'head.weight': { shape: head['head.weight']!.shape, data: (head['head.weight']!.data as Float32Array).map(x => x / 50) } };
    const session = await engine.open({ programs: { gradient: gradientProgram(own) }, state, constants: frozenTensors(own, backbone.tensors), threads: 1 });
    try {
      const gradient = (await session.call('gradient', feeds))['gradient/head.proj.weight']!.data;
      const direction = Float32Array.from(normals(streamKey(6, 'direction'), gradient.length));
      const lossAt = async (step: number) => {
        const moved = (state['head.proj.weight']!.data as Float32Array).map((x, i) => x + step * direction[i]!);
        await session.writeState({ 'head.proj.weight': { shape: [width, 16], data: moved } });
        return (await session.call('gradient', feeds))['loss']!.data[0]!;
      };
      const numeric = (await lossAt(1e-2) - await lossAt(-1e-2)) / 2e-2;
      const analytic = [...gradient].reduce((sum, g, i) => sum + g * direction[i]!, 0);
      assert.ok(Math.abs(numeric - analytic) <= 1e-2 * Math.abs(analytic) + 1e-4, `${numeric} and ${analytic}`);
    } finally {
      await session.dispose();
    }
  });

  it('has as many parameters as the study counts: 906,216 on ViT-B/16 and ImageNet', () => {
    const architecture = { ...presets['vit_base_patch16_clip_224']!, projection: 512 };
    assert.equal(countParameters({ architecture, method: findMethod('linear'), options: parseMethodOptions('linear', {}), classes: 1000 }).head, 906_216);
  });
});

function without(base: HostTensors, own: HostTensors): HostTensors {
  return Object.fromEntries(Object.entries(base).filter(([name]) => !Object.hasOwn(own, name)));
}

function shifted({ shape, data }: HostTensor, name: string): HostTensor {
  const noise = normals(streamKey(7, name), data.length);
  return { shape, data: (data as Float32Array).map((x, i) => x + 0.05 * noise[i]!) };
}

/** [2, 3, 8, 8] in patches of 4 to rows `patch * batch + image`. */
function patchRows({ data }: HostTensor): HostTensor {
  const out = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const [image, c, y, x] = [Math.floor(i / 192), Math.floor(i / 64) % 3, Math.floor(i / 8) % 8, i % 8];
    const token = Math.floor(y / 4) * 2 + Math.floor(x / 4);
    out[(token * 2 + image) * 48 + (c * 4 + y % 4) * 4 + x % 4] = data[i]!;
  }
  return { shape: [8, 48], data: out };
}

function assertClose(own: ArrayLike<number>, theirs: ArrayLike<number>, tolerance: number): void {
  assert.equal(own.length, theirs.length);
  for (let i = 0; i < own.length; i++) assert.ok(Math.abs(own[i]! - theirs[i]!) <= tolerance, `${own[i]} and ${theirs[i]}`);
}

async function readTensors(file: string): Promise<HostTensors> {
  const opened = await openSafetensors(file);
  const tensors: HostTensors = {};
  for (const [name, { shape }] of opened.tensors) tensors[name] = { shape, data: await opened.read(name) };
  await opened.close();
  return tensors;
}

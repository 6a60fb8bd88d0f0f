/**
 * How much of the forward pass is the same at every step: the frozen prefix. Found by tracing the pass once, not by names:
 * a stage may be computed beforehand when nothing that trains, no mask and nothing of the adapter reaches it, and when
 * what comes behind it reads the images through it alone.
 */
import { createHash } from 'node:crypto';
import { makersOf, type Node, type Trace, type Value } from '../engine/graph/nodes';
import { trace } from '../engine/graph/trace';
import type { HostTensors } from '../engine/program';
import { baseParameters } from '../vit/architecture';
import { stageShape } from '../vit/stages';
import { shapesOnly, type Model } from './model';
import { prefixProgram, stagesProgram } from './program';

export interface Prefix {
  /** 0 where there is none; see vit/stages.ts. */
  stage: number;
  /** Base tensors that are still read behind it. */
  reads: ReadonlySet<string>;
}

export interface Prefixes {
  training: Prefix;
  /** Without masks and augmentation it may reach further. */
  evaluation: Prefix;
}

/** `augmented`: images differ from epoch to epoch, and so does all that is computed of them. */
export async function findPrefixes(model: Model, { augmented }: { augmented: boolean }): Promise<Prefixes> {
  const evaluation = findPrefix(await traceStages(model, false), model);
  return { evaluation, training: augmented ? noPrefix(model) : findPrefix(await traceStages(model, true), model) };
}

/** Where everything is computed at every step. */
export function noPrefix({ architecture }: Pick<Model, 'architecture'>): Prefix {
  return { stage: 0, reads: new Set(baseParameters(architecture).map(({ name }) => name)) };
}

function traceStages(model: Model, training: boolean): Promise<Trace> {
  return trace({ program: stagesProgram(model, { training }), ...shapesAlone(model) });
}

export interface PrefixComputation {
  /** A hash of every operation on the way from the images: equal where methods have the same prefix. */
  digest: string;
  /** Base tensors that it reads. */
  reads: ReadonlySet<string>;
}

/** What is computed beforehand when the rest starts at `stage`, in batches of `model.batch`. */
export async function describePrefix(model: Model, stage: number): Promise<PrefixComputation> {
  const traced = await trace({ program: prefixProgram(model, stage), ...shapesAlone(model) });
  return { digest: digestOf(traced), reads: constantsAmong(sourcesOf(traced.fetches.get('prefix')!, traced)) };
}

function digestOf({ nodes, fetches }: Trace): string {
  const numbers = new Map<Value, string>();
  const refer = (value: Value) => numbers.get(value) ?? describeSource(value);
  const hash = createHash('sha256');
  nodes.forEach(({ kernel, inputs, outputs, attributes }: Node, index) => {
    hash.update(JSON.stringify([kernel, attributes, inputs.map(refer), outputs.map(output => output.shape)]));
    outputs.forEach((output, position) => numbers.set(output, `${index}.${position}`));
  });
  return hash.update(JSON.stringify([...fetches].map(([name, value]) => [name, refer(value)]))).digest('hex');
}

function describeSource({ source, shape, dtype }: Value): string {
  if (source?.kind !== 'literal') return `${source?.kind}:${source?.name}:${shape.join()}`;
  return `${dtype}:${shape.join()}:${createHash('sha256').update(source.data).digest('hex')}`;
}

/** The adapter is given as state, and so told from the frozen backbone. */
function shapesAlone(model: Model): { state: HostTensors; constants: HostTensors } {
  const own = new Set(model.tensors.map(({ name }) => name));
  return { state: shapesOnly(model.tensors), constants: shapesOnly(baseParameters(model.architecture).filter(({ name }) => !own.has(name))) };
}

function findPrefix(traced: Trace, { architecture, batch }: Model): Prefix {
  const logits = traced.fetches.get('logits')!;
  for (let stage = architecture.depth + 1; stage > 0; stage--) {
    const start = traced.fetches.get(`stage/${stage}`)!;
    const { rows, columns } = stageShape(architecture, stage);
    if (start.shape.join() !== [rows * batch, columns].join()) continue; // a method's tokens stand in the sequence
    const isFrozen = [...sourcesOf(start, traced)].every(({ source }) => source?.kind !== 'state' && (source?.kind !== 'feed' || source.name === 'patches'));
    const behind = sourcesOf(logits, traced, start);
    const isOnlyWay = [...behind].every(({ source }) => source?.kind !== 'feed' || source.name !== 'patches');
    if (isFrozen && isOnlyWay) return { stage, reads: constantsAmong(behind) };
  }
  return { stage: 0, reads: constantsAmong(sourcesOf(logits, traced)) };
}

/** What a value is made from, without going beyond `cut`. */
function sourcesOf(value: Value, { nodes }: Trace, cut?: Value): Set<Value> {
  const makers = makersOf(nodes);
  const seen = new Set<Value>(), sources = new Set<Value>(), open = [value];
  for (let next = open.pop(); next; next = open.pop()) {
    if (seen.has(next) || next === cut) continue;
    seen.add(next);
    const maker = makers.get(next);
    if (maker) open.push(...maker.inputs);
    else sources.add(next);
  }
  return sources;
}

function constantsAmong(sources: Iterable<Value>): Set<string> {
  return new Set([...sources].flatMap(({ source }) => source?.kind === 'constant' ? [source.name] : []));
}

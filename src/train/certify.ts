/** Measures an adapter's parity certificate on a batch of images; see peft/certificate.ts for what its numbers mean. */
import { UserError } from '../common/errors';
import type { Engine, HostTensor, HostTensors, Program, Session } from '../engine/program';
import type { ParityCertificate } from '../peft/certificate';
import { foldAdapter } from '../peft/fold';
import type { ModelSpec } from './model';
import { backboneProgram, evaluationProgram } from './program';

export interface CertifyOptions {
  /** `batch` is that of the patches. */
  model: Omit<ModelSpec, 'dropPath' | 'dropout'>;
  base: HostTensors;
  trained: HostTensors;
  /** The adapter as it was read from its file. */
  reloaded: HostTensors;
  /** [tokens * batch, 3 * patch^2], rows `patch * batch + image`. */
  patches: Float32Array;
  /** Images in the batch that are real; the others are padding. */
  images: number;
  imagesFrom: ParityCertificate['imagesFrom'];
  engine: Engine;
  threads: number;
}

/** One session holds whatever differs between the models as its state, and each model is written into it in turn. */
export async function certify(options: CertifyOptions): Promise<ParityCertificate> {
  const { model, base, trained, reloaded, engine, threads, images, imagesFrom } = options;
  const folded = tryFold(options);
  const changed = changedNames(base, folded, trained);
  const state = pick({ ...base, ...trained }, [...new Set([...changed, ...Object.keys(trained)])]);
  const programs: Record<string, Program> = { adapted: evaluationProgram(model), plain: backboneProgram(model) };
  const constants = Object.fromEntries(Object.entries(base).filter(([name]) => !(name in state)));
  const session = await engine.open({ programs, state, constants, threads });
  try {
    const logits = async (program: string, tensors: HostTensors) => {
      await session.writeState(pick(tensors, Object.keys(state).filter(name => name in tensors)));
      return classify(session, program, options);
    };
    const adapted = await logits('adapted', { ...base, ...trained });
    const reload = largestDifference(adapted, await logits('adapted', { ...base, ...reloaded }));
    const known = { images, imagesFrom, engine: engine.id, largestLogit: largest(adapted), reload };
    if (folded instanceof UserError) return { ...known, merge: null, unmerge: null, cannotMerge: folded.what };
    const merged = await logits('plain', folded);
    const frozen = await logits('plain', { ...folded, ...base });
    // One at a time: all of them are another backbone.
    for (const name of changed) await session.writeState({ [name]: unfold(folded[name]!, base[name]!) });
    const unmerged = await classify(session, 'plain', options);
    return { ...known, merge: largestDifference(adapted, merged), unmerge: largestDifference(frozen, unmerged), cannotMerge: null };
  } finally {
    await session.dispose();
  }
}

function tryFold({ model, base, trained }: CertifyOptions): HostTensors | UserError {
  try {
    return foldAdapter({ ...model, base, trained });
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
}

/** Base tensors that folding gives other values. */
function changedNames(base: HostTensors, folded: HostTensors | UserError, trained: HostTensors): string[] {
  const after = folded instanceof UserError ? trained : folded;
  return Object.keys(base).filter(name => after[name] !== undefined && after[name].data !== base[name]!.data);
}

/** The merged weight less the change, each step rounded to float32, as when a merge is undone in place. */
function unfold(after: HostTensor, before: HostTensor): HostTensor {
  return { shape: before.shape, data: Float32Array.from(after.data, (value, i) => value - Math.fround(value - before.data[i]!)) };
}

async function classify(session: Session, program: string, { model, patches, images }: CertifyOptions): Promise<Float32Array> {
  const columns = 3 * model.architecture.patch ** 2;
  const { logits } = await session.call(program, { patches: { shape: [patches.length / columns, columns], data: patches } });
  return (logits!.data as Float32Array).slice(0, images * model.classes);
}

function pick(tensors: HostTensors, names: readonly string[]): HostTensors {
  return Object.fromEntries(names.map(name => [name, tensors[name]!]));
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return largest(a.map((value, i) => value - b[i]!));
}

function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

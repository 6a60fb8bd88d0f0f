/** (IA)^3 between PEFT's layers and PEFT Lab's tensors: `blocks.<i>.ia3.<target>`, a factor for each feature. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import type { BackboneAtHand, ExchangedAdapter } from './exchanged';
import { type FloatTensor, type FloatTensors, rowsOf, stackRows } from './float-tensors';
import { type Dialect, placeName, thirds, type Third, usualEnd } from './module-names';
import type { PeftFolder, PeftForm, PeftModule } from './peft-folder';

const layers = ['proj', 'fc1', 'fc2'] as const;
type Target = Third | typeof layers[number];
const layerPaths = { proj: 'attn.proj', fc1: 'mlp.fc1', fc2: 'mlp.fc2' } satisfies Record<typeof layers[number], string>;

interface ScaleOptions {
  targets: Target[];
  feedforward: Target[];
}

/** Layers that PEFT scales in some blocks only have the factor 1 in the others. */
export function scalesFromPeft({ modules, folder }: PeftFolder, { architecture }: BackboneAtHand): ExchangedAdapter {
  const factors = new Map<string, FloatTensor>();
  const feedforward = new Set<Target>(), outputs = new Set<Target>();
  for (const module of modules) {
    for (const { block, target, values } of readFactors(module, architecture, folder)) {
      (module.onInput ? feedforward : outputs).add(target);
      factors.set(tensorName(block, target), values);
    }
  }
  const mixed = [...feedforward].find(target => outputs.has(target));
  if (mixed) throw new UserError({ what: `${mixed} is scaled at its input in some blocks and at its output in others`, where: folder, remedy: 'Merge the adapter with merge_and_unload in PEFT, and use the result as a backbone.' });
  const all = new Set([...feedforward, ...outputs]);
  const given = [...thirds, ...layers].filter(target => all.has(target)), scaled = given.filter(target => isScaled(target, factors));
  const targets = scaled.length ? scaled : given;
  const options: ScaleOptions = { targets, feedforward: targets.filter(target => feedforward.has(target)) };
  const tensors: FloatTensors = {};
  for (let block = 0; block < architecture.depth; block++) {
    for (const target of options.targets) {
      const name = tensorName(block, target), size = featuresOf(target, options.feedforward.includes(target), architecture);
      tensors[name] = factors.get(name) ?? { shape: [size], data: new Float32Array(size).fill(1) };
    }
  }
  return { method: { id: 'ia3', options: { ...options } }, tensors };
}

export function scalesToPeft({ method, tensors }: ExchangedAdapter, dialect: Dialect, { architecture }: BackboneAtHand): PeftForm {
  const { targets, feedforward } = method.options as unknown as ScaleOptions;
  const modules: { name: string; tensors: FloatTensors; onInput: boolean }[] = [];
  const add = (path: string, third: Third | null, values: FloatTensor, onInput: boolean) => modules.push({
    name: placeName({ path, third }, dialect)!, onInput, tensors: { ia3_l: { shape: onInput ? [1, values.data.length] : [values.data.length, 1], data: values.data } },
  });
  for (let block = 0; block < architecture.depth; block++) {
    const scaled = thirds.filter(third => targets.includes(third)), path = `blocks.${block}.attn.qkv`;
    if (dialect === 'timm' && scaled.length) add(path, null, stackRows(thirds.map(third => tensors[tensorName(block, third)] ?? ones(architecture.width))), false);
    if (dialect !== 'timm') for (const third of scaled) add(path, third, tensors[tensorName(block, third)]!, false);
    for (const layer of layers.filter(l => targets.includes(l))) add(`blocks.${block}.${layerPaths[layer]}`, null, tensors[tensorName(block, layer)]!, feedforward.includes(layer));
  }
  const ends = [...new Set(modules.filter(({ onInput }) => onInput).map(({ name }) => usualEnd(name)))];
  return { modules, config: { feedforward_modules: feedforwardFor(ends, modules), init_ia3_weights: true } };
}

/** Ends of names, like target_modules: ends that mean an output-scaled layer too become a regular expression. */
function feedforwardFor(ends: readonly string[], modules: readonly { name: string; onInput: boolean }[]): string[] | string {
  const isAmbiguous = modules.some(({ name, onInput }) => !onInput && ends.some(end => name.endsWith(`.${end}`)));
  return isAmbiguous ? ends.map(end => `.*\\.\\d+\\.${end.replaceAll('.', '\\.')}`).join('|') : [...ends];
}

interface Factors { block: number; target: Target; values: FloatTensor }

function readFactors({ path, third, name, tensors, onInput }: PeftModule, architecture: Architecture, folder: string): Factors[] {
  const where = `${folder} (layer '${name}')`;
  const match = /^blocks\.(\d+)\.(.+)$/.exec(path), vector = tensors['ia3_l'];
  const target = third ?? layers.find(layer => layerPaths[layer] === match?.[2]) ?? null;
  if (!match || !vector || (!target && match[2] !== 'attn.qkv')) {
    throw new UserError({ what: 'it scales a layer other than the linear ones of blocks', where, remedy: 'Merge the adapter with merge_and_unload in PEFT, and use the result as a backbone.' });
  }
  if ((third || !target) && onInput) throw new UserError({ what: 'it scales the input of a query, key or value layer, which only its output can have here', where, remedy: 'Merge the adapter with merge_and_unload in PEFT, and use the result as a backbone.' });
  const block = Number(match[1]), { width } = architecture;
  const size = target ? featuresOf(target, onInput, architecture) : 3 * width;
  if (vector.data.length !== size) throw new UserError({ what: `ia3_l has ${vector.data.length} factors for a layer of ${size}`, where, remedy: 'Name the backbone that the adapter was trained on with --backbone.' });
  const flat = { shape: [size], data: vector.data };
  return target ? [{ block, target, values: flat }] : thirds.map((part, i) => ({ block, target: part, values: rowsOf(flat, i * width, (i + 1) * width) }));
}

/** A third of timm's fused layer that is 1 everywhere was not meant. */
function isScaled(target: Target, factors: ReadonlyMap<string, FloatTensor>): boolean {
  return [...factors].some(([name, { data }]) => name.endsWith(`.${target}`) && data.some(value => value !== 1));
}

function featuresOf(target: Target, onInput: boolean, { width, hidden }: Architecture): number {
  if (target === 'fc1') return onInput ? width : hidden;
  return target === 'fc2' && onInput ? hidden : width;
}

function ones(size: number): FloatTensor {
  return { shape: [size], data: new Float32Array(size).fill(1) };
}

function tensorName(block: number, target: Target): string {
  return `blocks.${block}.ia3.${target}`;
}

/** Which method a PEFT adapter is, and how PEFT holds a method: what each can say of the other, and refusals with reasons. */
import { type BackboneAtHand, type ExchangedAdapter, cannotHold, mergeInstead } from './exchanged';
import { type Dialect, layerEnd, placeName, usualEnd } from './module-names';
import type { PeftFolder, PeftFolderToWrite, PeftForm } from './peft-folder';
import { lowRankFromPeft, lowRankToPeft } from './peft-low-rank';
import { normsFromPeft, normsToPeft } from './peft-norms';
import { scalesFromPeft, scalesToPeft } from './peft-scales';

/** A PEFT adapter without its classifier in PEFT Lab's form. */
export function methodFromPeft(folder: PeftFolder, backbone: BackboneAtHand): ExchangedAdapter {
  switch (folder.kind) {
    case 'LORA': return lowRankFromPeft(folder, backbone);
    case 'IA3': return scalesFromPeft(folder, backbone);
    case 'LN_TUNING': return normsFromPeft(folder, backbone);
    default: return folder.kind satisfies never;
  }
}

type Writer = (adapter: ExchangedAdapter, dialect: Dialect, backbone: BackboneAtHand) => PeftForm;

const writers: Record<string, { type: PeftFolder['kind']; write: Writer }> = {
  lora: { type: 'LORA', write: lowRankToPeft },
  dora: { type: 'LORA', write: lowRankToPeft },
  ia3: { type: 'IA3', write: scalesToPeft },
  ln: { type: 'LN_TUNING', write: normsToPeft },
};

/** Ids of the methods that PEFT can hold, with PEFT's name of the kind. */
export const peftKinds: Readonly<Record<string, PeftFolder['kind']>> = Object.fromEntries(Object.entries(writers).map(([id, { type }]) => [id, type]));

/** Reasons that are worth more than "PEFT has no such method". */
const reasons: Record<string, string> = {
  linear: 'a classifier alone is no adapter for PEFT, which needs at least one adapted layer',
  full: 'all weights were trained, and PEFT keeps adapters only',
  bitfit: 'PEFT trains biases only beside LoRA layers, not by themselves',
};

/** Files of an adapter with its classifier; UserError with the reason where PEFT cannot hold it. */
export function methodToPeft(adapter: ExchangedAdapter, dialect: Dialect, backbone: BackboneAtHand): PeftFolderToWrite {
  const { method: { id } } = adapter;
  const writer = Object.hasOwn(writers, id) ? writers[id]! : undefined;
  if (!writer) {
    const reason = Object.hasOwn(reasons, id) ? reasons[id]! : `Hugging Face PEFT has no method that computes what ${id} does`;
    throw cannotHold(reason, mergeInstead);
  }
  if (dialect !== 'timm') checkTransformersHolds(backbone);
  const { config, modules } = writer.write(adapter, dialect, backbone);
  if (!modules.length) throw cannotHold('no layer is adapted', mergeInstead);
  const head = dialect === 'timm' ? 'head' : 'classifier';
  const tensors = Object.fromEntries(modules.flatMap(({ name, tensors: own }) =>
    Object.entries(own).map(([part, tensor]) => [`base_model.model.${name}.${part}`, tensor])));
  for (const part of ['weight', 'bias']) tensors[`base_model.model.${head}.${part}`] = adapter.tensors[`head.${part}`]!;
  return {
    tensors,
    config: {
      peft_type: writer.type, task_type: null, auto_mapping: autoMapping(dialect), base_model_name_or_path: null, revision: null,
      target_modules: targetsFor(modules.map(({ name }) => name), dialect, backbone), exclude_modules: null,
      ...config, fan_in_fan_out: false, modules_to_save: [head], inference_mode: true,
    },
  };
}

function autoMapping(dialect: Dialect) {
  return dialect === 'timm'
    ? { base_model_class: 'VisionTransformer', parent_library: 'timm.models.vision_transformer' }
    : { base_model_class: 'ViTForImageClassification', parent_library: 'transformers.models.vit.modeling_vit' };
}

/** transformers' ViT has no LayerNorm in front, no LayerScale and always a bias in the patch embedding. */
export function checkTransformersHolds({ architecture: { preNorm, layerScale, patchBias } }: Pick<BackboneAtHand, 'architecture'>): void {
  if (!preNorm && !layerScale && patchBias) return;
  const what = preNorm ? 'a LayerNorm in front of its blocks' : layerScale ? 'LayerScale' : 'no bias in its patch embedding';
  throw cannotHold(`the backbone has ${what}, and transformers' ViTForImageClassification has not`, 'Export for timm: --dialect timm.');
}

/**
 * PEFT finds the layers by the ends of their names, or by one regular expression for the whole name. The ends are what
 * people write; they are taken where they mean exactly these layers.
 */
function targetsFor(names: readonly string[], dialect: Dialect, { architecture }: BackboneAtHand): string | string[] {
  const ends = [...new Set(names.map(layerEnd))];
  const meant = new Set(names);
  const matched = layerNames(dialect, architecture.depth).filter(name => ends.some(end => name === end || name.endsWith(`.${end}`)));
  if (matched.every(name => meant.has(name)) && !ends.includes('norm')) return ends.map(usualEnd);
  const patterns = [...new Set(names.map(name => name.replace(/\.\d+\./, '.{i}.')))].map(pattern => {
    const escaped = pattern.replace(/[.]/g, '\\.');
    const blocks = names.map(name => /\.(\d+)\./.exec(name)).filter((m): m is RegExpExecArray => m !== null && m.input.replace(/\.\d+\./, '.{i}.') === pattern).map(m => m[1]!);
    return escaped.replace('{i}', blocks.length === architecture.depth ? '\\d+' : `(${blocks.join('|')})`);
  });
  return patterns.join('|');
}

/** Every layer of the backbone that an adapter could mean. */
function layerNames(dialect: Dialect, depth: number): string[] {
  const paths = ['patch_embed.proj', 'norm', ...Array.from({ length: depth }, (_, i) =>
    ['norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2'].map(layer => `blocks.${i}.${layer}`)).flat()];
  const places = paths.flatMap(path => path.endsWith('attn.qkv') ? [null, 'q', 'k', 'v'].map(third => ({ path, third: third as 'q' | null })) : [{ path, third: null }]);
  return places.map(place => placeName(place, dialect)).filter(name => name !== null);
}

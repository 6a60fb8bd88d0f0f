/**
 * Adapters of the study's code (arXiv 2409.16434): a folder with config.json, whose `study_params` are the flags of a run,
 * and the trained tensors as safetensors. Tensor names are ours (they were taken from there); flags become a method with
 * options here, and options flags. Flags and names: its repository, OSU-MLB/ViT_PEFT_Vision.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { UserError } from '../common/errors';
import { cannotHold, mergeInstead } from './exchanged';
import { type FloatTensors, readFloatTensors } from './float-tensors';
import { writeSafetensors } from './safetensors';

export const studyConfigFile = 'config.json';
const startTensorFile = 'init.safetensors';

const flag = z.boolean().nullish();
const count = z.union([z.int(), z.string()]).nullish();
const factor = z.union([z.number(), z.string()]).nullish();
const mode = z.enum(['parallel', 'sequential_before', 'sequential_after']).nullish();
const layerNorm = z.enum(['before', 'after']).nullish();
const studyParams = z.looseObject({
  full: flag, bitfit: flag, ln: flag, difffit: flag, ssf: flag,
  vpt_mode: z.string().nullish(), vpt_num: count, vpt_layer: count,
  lora_bottleneck: count, fact_type: z.string().nullish(), fact_dim: count, fact_scaler: factor, vqt_num: count,
  ft_attn_module: z.string().nullish(), ft_attn_mode: mode, ft_attn_ln: layerNorm,
  ft_mlp_module: z.string().nullish(), ft_mlp_mode: mode, ft_mlp_ln: layerNorm,
  adapter_bottleneck: count, adapter_scaler: factor, convpass_bottleneck: count, convpass_scaler: factor,
  repadapter_bottleneck: count, repadapter_scaler: factor, repadapter_group: count,
  block_index: z.unknown().optional(), attention_index: z.unknown().optional(), mlp_index: z.unknown().optional(),
  crop_size: count, patch_size: count, normalized: flag, merge_factor: factor,
});
export type StudyParams = z.output<typeof studyParams>;

const triple = z.tuple([z.number(), z.number(), z.number()]);
const studyConfig = z.looseObject({
  study_params: z.looseObject({}).transform(withDefaults).pipe(studyParams),
  images: z.object({ normalization: z.object({ mean: triple, std: triple }), resize: z.enum(['stretch', 'crop']) }).optional(),
});

export interface StudyFolder {
  folder: string;
  /** With the defaults of the study's code for what is not given. */
  params: StudyParams;
  /** How images are prepared, in full; only what PEFT Lab exported says so. */
  images: z.output<typeof studyConfig>['images'];
  /** Without the aliases under which its state dict repeats shared modules. */
  tensors: FloatTensors;
}

export interface StudyMethod {
  id: string;
  options: Record<string, unknown>;
}

export async function readStudyFolder(folder: string): Promise<StudyFolder> {
  const where = path.join(folder, studyConfigFile);
  let json: unknown;
  try {
    json = JSON.parse(await fs.readFile(where, 'utf8'));
  } catch (cause) {
    throw new UserError({ what: `it cannot be read as JSON (${(cause as Error).message})`, where, remedy: 'Write {"study_params": {...}} with the flags of the run.', cause });
  }
  const parsed = studyConfig.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new UserError({ what: `${issue!.path.join('.') || 'the file'}: ${issue!.message}`, where, remedy: 'Write {"study_params": {...}} with the flags of the run.' });
  }
  const { study_params: params, images } = parsed.data;
  return { folder, params, images, tensors: withoutAliases(await readFloatTensors(await tensorFile(folder))) };
}

export async function writeStudyFolder(folder: string, { config, tensors }: { config: Record<string, unknown>; tensors: FloatTensors }): Promise<void> {
  await fs.mkdir(folder, { recursive: true });
  await writeSafetensors(path.join(folder, startTensorFile), tensors, { format: 'pt' });
  await fs.writeFile(path.join(folder, studyConfigFile), `${JSON.stringify(config, null, 2)}\n`);
}

async function tensorFile(folder: string): Promise<string> {
  const names = await fs.readdir(folder), files = names.filter(name => name.endsWith('.safetensors'));
  if (files.includes(startTensorFile)) return path.join(folder, startTensorFile);
  if (files.length === 1) return path.join(folder, files[0]!);
  const pickle = names.find(name => /\.(pt|pth|bin)$/.test(name));
  throw new UserError({
    what: files.length ? `there are several safetensors files and none is called ${startTensorFile}` : 'there is no safetensors file with the trained tensors', where: folder,
    remedy: pickle && !files.length
      ? `${pickle} is a pickle, which can run any program when it is opened. Convert it where you trust it: python -c "import torch; from safetensors.torch import save_file; save_file({k: v.clone() for k, v in torch.load('${pickle}', map_location='cpu', weights_only=True).items()}, '${startTensorFile}')".`
      : `Call the one with the adapter ${startTensorFile}.`,
  });
}

/** FacT's one shared module stands under every block; the first is kept. */
function withoutAliases(tensors: FloatTensors): FloatTensors {
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => !/^blocks\.\d+\.((attn|mlp)\.)?fact\./.test(name) || name.startsWith('blocks.0.attn.fact.')));
}

/** Which method the flags mean; UserError naming the flag where PEFT Lab has no equal. */
export function methodOfStudy({ params: p, folder }: Pick<StudyFolder, 'params' | 'folder'>): StudyMethod {
  const where = `${path.join(folder, studyConfigFile)} (study_params)`;
  const found = [
    isSet(p.full) && { id: 'full', options: {} },
    p.difffit ? { id: 'difffit', options: {} } : isSet(p.bitfit) && { id: 'bitfit', options: {} },
    isSet(p.ln) && { id: 'ln', options: {} },
    isSet(p.ssf) && { id: 'ssf', options: {} },
    p.vpt_mode && promptsOf(p, where),
    number(p.lora_bottleneck) > 0 && { id: 'lora', options: { rank: number(p.lora_bottleneck), variant: 'study' } },
    p.fact_type && { id: `fact-${p.fact_type}`, options: { rank: number(p.fact_dim), scale: number(p.fact_scaler) } },
    (p.ft_attn_module ?? p.ft_mlp_module) && moduleOf(p, where),
  ].filter((method): method is StudyMethod => Boolean(method));
  if (number(p.vqt_num) > 0) {
    throw new UserError({
      what: '"vqt_num" is set, and the released code for VQT computes something else than VQT: its queries do not reach the classifier', where,
      remedy: 'Train with the method "vqt", which is as the paper has it.',
    });
  }
  const selected = (['block_index', 'attention_index', 'mlp_index'] as const).find(key => !isNothing(p[key]));
  if (selected) throw new UserError({ what: `"${selected}" is set; which tensors it trains depends on how the study matched names`, where, remedy: 'Train with the method "selective", which takes exact indices.' });
  if (number(p.merge_factor) !== 1) throw new UserError({ what: `"merge_factor" is ${p.merge_factor}: the adapter was scaled for WiSE`, where, remedy: 'Import the adapter with merge_factor 1.' });
  if (found.length > 1) return combined(found, where);
  return found[0] ?? { id: 'linear', options: {} };
}

/** Methods that only train what the backbone has: beside them the order in which others act does not matter. */
const selections: readonly string[] = ['bitfit', 'ln'];

/** Several flags at once: one method made of several, where their order cannot matter. */
function combined(methods: readonly StudyMethod[], where: string): StudyMethod {
  const acting = methods.filter(({ id }) => !selections.includes(id));
  if (acting.length > 1) {
    throw new UserError({ what: `${acting.map(({ id }) => id).join(' and ')} act together, in an order that is the study's own`, where, remedy: 'One method, with bitfit or ln beside it, can be imported.' });
  }
  return { id: methods.map(({ id }) => id).join('+'), options: Object.fromEntries(methods.map(({ id, options }) => [id, options])) };
}

function promptsOf({ vpt_mode: mode, vpt_num: prompts, vpt_layer: layers }: StudyParams, where: string): StudyMethod {
  if (!isNothing(layers) && mode !== 'deep') throw new UserError({ what: '"vpt_layer" is set, which says in how many of the last blocks deep prompts stand', where, remedy: 'Leave it out, or set "vpt_mode" to "deep".' });
  if (mode !== 'shallow' && mode !== 'deep') throw new UserError({ what: `"vpt_mode" is "${mode}"`, where, remedy: 'It is "shallow" or "deep".' });
  return { id: `vpt-${mode}`, options: { prompts: number(prompts), variant: 'study', ...isNothing(layers) ? {} : { lastBlocks: number(layers) } } };
}

function moduleOf(p: StudyParams, where: string): StudyMethod {
  const { ft_attn_module: attention, ft_mlp_module: mlp } = p;
  const module = attention ?? mlp;
  if (attention && mlp && attention !== mlp) throw new UserError({ what: `attention has ${attention} and the MLP ${mlp}`, where, remedy: 'Only one kind of module in both can be imported.' });
  if (module === 'adapter') return adapterOf(p, where);
  if (!attention || !mlp) throw new UserError({ what: `${module} is in the ${attention ? 'attention' : 'MLP'} branch alone`, where, remedy: `${module} in both branches can be imported.` });
  switch (module) {
    case 'convpass':
      requireFlags(p, { ft_attn_mode: 'parallel', ft_mlp_mode: 'parallel', ft_attn_ln: 'after', ft_mlp_ln: 'after' }, { module, where });
      return { id: 'convpass', options: { bottleneck: number(p.convpass_bottleneck), scale: number(p.convpass_scaler) } };
    case 'repadapter':
      requireFlags(p, { ft_attn_mode: 'sequential_before', ft_mlp_mode: 'sequential_before' }, { module, where });
      return { id: 'repadapter', options: { bottleneck: number(p.repadapter_bottleneck), groups: number(p.repadapter_group), scale: number(p.repadapter_scaler) } };
    default: throw new UserError({ what: `the module "${module}" is unknown`, where, remedy: 'Known are adapter, convpass and repadapter.' });
  }
}

/** Refuses a module that stands elsewhere than its method has it. */
function requireFlags(p: StudyParams, needed: Partial<StudyParams>, { module, where }: { module: string; where: string }): void {
  const strange = Object.keys(needed).find(key => p[key] !== needed[key]);
  if (strange) throw new UserError({ what: `"${strange}" is "${String(p[strange])}", and ${module} is only known with "${String(needed[strange])}"`, where, remedy: `Only ${module} that stands where its authors have it can be imported.` });
}

/** The forms that have names, and the free form for the others. */
function adapterOf(p: StudyParams, where: string): StudyMethod {
  const { ft_attn_module: attention, ft_mlp_module: mlp } = p;
  const learnable = p.adapter_scaler === 'learnable_scalar';
  const size = { bottleneck: number(p.adapter_bottleneck), ...learnable ? { scale: 1, learnableScale: true } : { scale: number(p.adapter_scaler) } };
  const modes = new Set([...attention ? [p.ft_attn_mode] : [], ...mlp ? [p.ft_mlp_mode] : []]);
  const [mode] = modes;
  if (modes.size > 1) throw new UserError({ what: `adapters are ${[...modes].join(' and ')}`, where, remedy: 'Adapters of one position can be imported.' });
  if (mode === 'sequential_before') throw new UserError({ what: 'adapters stand before the branches, where the study\'s code leaves out their skip connection', where, remedy: 'Adapters beside or behind the branches can be imported.' });
  if (mode === 'sequential_after') {
    if (mlp && attention) return { id: 'houlsby', options: { ...size, variant: 'study' } };
    if (mlp) return { id: 'pfeiffer', options: { ...size, variant: 'study' } };
    return { id: 'adapter', options: { ...size, branches: ['attention'], position: 'after', initializer: 'reset', dropPath: 'twice' } };
  }
  const inputs = new Set([...attention ? [p.ft_attn_ln] : [], ...mlp ? [p.ft_mlp_ln] : []]);
  if (inputs.size > 1) throw new UserError({ what: 'adapters read the stream before the LayerNorm in one branch and after it in the other', where, remedy: 'Adapters that read the same in both can be imported.' });
  const isBefore = inputs.has('before');
  if (mlp && !attention && isBefore) return { id: 'adaptformer', options: { ...size, variant: 'study' } };
  return {
    id: 'adapter',
    options: { ...size, branches: [...attention ? ['attention'] : [], ...mlp ? ['mlp'] : []], position: 'parallel', input: isBefore ? 'residual' : 'normalized', initializer: 'reset', dropPath: 'twice' },
  };
}

// ---- to the study's flags

/** What the study's code takes where a flag is not given. */
const defaults: Record<string, unknown> = {
  drop_path_rate: 0, crop_size: 224, patch_size: 16, ft_attn_module: null, ft_attn_mode: 'parallel', ft_attn_ln: 'before',
  ft_mlp_module: null, ft_mlp_mode: 'parallel', ft_mlp_ln: 'before', adapter_bottleneck: 64, adapter_init: 'lora_kaiming', adapter_scaler: 0.1,
  convpass_xavier_init: false, convpass_bottleneck: 8, convpass_init: 'lora_xavier', convpass_scaler: 10, vpt_mode: null, vpt_num: 10,
  vpt_layer: null, vpt_dropout: 0, ssf: false, lora_bottleneck: 0, fact_dim: 8, fact_type: null, fact_scaler: 1, repadapter_bottleneck: 8,
  repadapter_init: 'lora_xavier', repadapter_scaler: 1, repadapter_group: 2, bitfit: false, vqt_num: 0, vqt_dropout: 0, ln: false,
  difffit: false, full: false, merge_factor: 1,
};

function withDefaults(flags: Flags): Flags {
  return { ...defaults, ...Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== null)) };
}

type Flags = Record<string, unknown>;
type Options = Record<string, unknown>;

/** Flags of a method, or why the study's code has none for these options. */
const flagsOf: Record<string, (options: Options) => Flags | string> = {
  linear: ({ layer, pool }) => isNothing(layer) && pool === 'class' ? {} : 'the study\'s code reads the class token behind the last block',
  full: () => ({ full: true }),
  bitfit: () => ({ bitfit: true }),
  ln: () => ({ ln: true }),
  difffit: () => ({ difffit: true }),
  ssf: () => ({ ssf: true }),
  'vpt-shallow': ({ prompts, variant }) => variant === 'original' ? 'the study\'s code drops the prompts behind the first block' : { vpt_mode: 'shallow', vpt_num: prompts },
  'vpt-deep': ({ prompts, lastBlocks }) => ({ vpt_mode: 'deep', vpt_num: prompts, vpt_layer: lastBlocks ?? null }),
  lora: loraFlags,
  'fact-tt': ({ rank, scale }) => ({ fact_type: 'tt', fact_dim: rank, fact_scaler: scale }),
  'fact-tk': ({ rank, scale }) => ({ fact_type: 'tk', fact_dim: rank, fact_scaler: scale }),
  adaptformer: options => ({ ft_mlp_module: 'adapter', ft_mlp_mode: 'parallel', ft_mlp_ln: 'before', ...adapterSize(options) }),
  pfeiffer: options => ({ ft_mlp_module: 'adapter', ft_mlp_mode: 'sequential_after', ...adapterSize(options) }),
  houlsby: options => options['variant'] === 'original' ? 'the study\'s adapters have ReLU, and these have GELU' : {
    ft_attn_module: 'adapter', ft_attn_mode: 'sequential_after', ft_mlp_module: 'adapter', ft_mlp_mode: 'sequential_after', ...adapterSize(options),
  },
  adapter: adapterFlags,
  convpass: ({ bottleneck, scale }) => ({
    ft_attn_module: 'convpass', ft_attn_ln: 'after', ft_mlp_module: 'convpass', ft_mlp_ln: 'after', convpass_bottleneck: bottleneck, convpass_scaler: scale,
  }),
  repadapter: ({ bottleneck, groups, scale }) => ({
    ft_attn_module: 'repadapter', ft_attn_mode: 'sequential_before', ft_mlp_module: 'repadapter', ft_mlp_mode: 'sequential_before',
    repadapter_bottleneck: bottleneck, repadapter_group: groups, repadapter_scaler: scale,
  }),
};

/** Ids of the methods that the study's code can hold, with some of their options at least. */
export const studyMethods: readonly string[] = Object.keys(flagsOf);

/** UserError with the reason where the study's code has no such method or option. */
export function studyParamsOf(method: StudyMethod, { imageSize, patch }: { imageSize: number; patch: number }): Flags {
  return { ...defaults, crop_size: imageSize, patch_size: patch, ...partsOf(method).reduce((flags, part) => ({ ...flags, ...ownFlags(part) }), {}) };
}

function partsOf({ id, options }: StudyMethod): StudyMethod[] {
  if (!id.includes('+')) return [{ id, options }];
  const parts = id.split('+').map(part => ({ id: part, options: options[part] as Options }));
  const acting = parts.filter(part => !selections.includes(part.id));
  if (acting.length > 1) throw cannotHold(`the study's code lets ${acting.map(part => part.id).join(' and ')} act in an order of its own`, mergeInstead);
  return parts;
}

function ownFlags({ id, options }: StudyMethod): Flags {
  const write = Object.hasOwn(flagsOf, id) ? flagsOf[id]! : undefined;
  if (!write) throw cannotHold(id === 'vqt' ? 'the study\'s released code for VQT computes something else' : `the study's code has no ${id}`, mergeInstead);
  const flags = write(options);
  if (typeof flags === 'string') throw cannotHold(flags, mergeInstead);
  return flags;
}

function loraFlags({ rank, alpha, rankStabilized, targets, blocks, sharing, variant }: Options): Flags | string {
  if (sharing === 'separate' || (isNothing(sharing) && variant !== 'study')) return 'the study\'s code shares one A among query, key and value';
  const scale = isNothing(alpha) ? 1 : Number(alpha) / (rankStabilized ? Math.sqrt(Number(rank)) : Number(rank));
  if (scale !== 1) return `the study's code has no factor alpha / ${rankStabilized ? 'sqrt(rank)' : 'rank'}`;
  if (!isNothing(blocks) || [...targets as string[]].sort().join() !== 'k,q,v') return 'the study\'s code adapts query, key and value of all blocks';
  return { lora_bottleneck: rank };
}

function adapterFlags(options: Options): Flags | string {
  const { branches, position, input, activation } = options as { branches: string[]; position: string; input: string; activation: string };
  if (activation !== 'relu') return 'the study\'s adapters have ReLU';
  if (position === 'before') return 'the study\'s code leaves out the skip connection of adapters before a branch';
  const mode = position === 'parallel' ? 'parallel' : 'sequential_after', ln = input === 'residual' ? 'before' : 'after';
  return {
    ...branches.includes('attention') ? { ft_attn_module: 'adapter', ft_attn_mode: mode, ft_attn_ln: ln } : {},
    ...branches.includes('mlp') ? { ft_mlp_module: 'adapter', ft_mlp_mode: mode, ft_mlp_ln: ln } : {},
    ...adapterSize(options),
  };
}

function adapterSize({ bottleneck, scale, learnableScale }: Options): Flags {
  return { adapter_bottleneck: bottleneck, adapter_scaler: learnableScale ? 'learnable_scalar' : scale };
}

// ---- values

function isSet(value: boolean | null | undefined): boolean {
  return value === true;
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null || value === false || (Array.isArray(value) && value.length === 0);
}

/** Its command line leaves some numbers as text. */
function number(value: number | string | null | undefined): number {
  const found = Number(value ?? NaN);
  if (Number.isFinite(found)) return found;
  throw new UserError({ what: `"${value ?? 'nothing'}" stands where a number is needed`, where: studyConfigFile, remedy: 'Correct study_params.' });
}

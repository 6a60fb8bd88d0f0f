/** What tensor shapes cannot say of a backbone: from the study file, the file's metadata, or configuration files beside it. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { channelNormalization } from '../common/normalization';
import { architectureSchema, normalizationSchema } from '../common/study';
import type { Architecture, ChannelNormalization } from '../common/trial';
import type { BackboneFacts, KnownFacts } from '../interop/dialects/dialect';
import { findPreset } from './presets';

export interface FactSources {
  file: string;
  width: number;
  /** What the study file says. */
  study: KnownFacts;
  /** The safetensors file's own metadata. */
  metadata: Readonly<Record<string, string>>;
  /** What the names of its tensors say, surely and most likely. */
  dialect: { certain?: KnownFacts; assumed?: KnownFacts };
}

/** The first source that knows wins; what none knows is assumed, with a warning in words. */
export async function findFacts({ file, width, study, metadata, dialect }: FactSources): Promise<{ facts: BackboneFacts; warnings: string[] }> {
  const known = [study, metadataFacts(file, metadata), await configFacts(path.dirname(file)), dialect.certain ?? {}];
  const find = <Key extends keyof BackboneFacts>(key: Key) => known.find(source => source[key] != null)?.[key] as BackboneFacts[Key] | undefined;
  const heads = find('heads') ?? assumedHeads(file, width, dialect.assumed?.heads);
  if (width % heads) {
    throw new UserError({
      what: `${heads} heads do not divide the width ${width}`, where: file,
      remedy: 'Correct backbone.architecture.heads in the study file.',
    });
  }
  const facts = {
    heads,
    layerNormEpsilon: find('layerNormEpsilon') ?? dialect.assumed?.layerNormEpsilon ?? 1e-6,
    activation: find('activation') ?? dialect.assumed?.activation ?? 'gelu',
    normalization: find('normalization') ?? dialect.assumed?.normalization ?? channelNormalization('imagenet'),
  };
  return { facts, warnings: warningsFor(file, wordsFor(facts, width), key => find(key) === undefined) };
}

function wordsFor({ heads, layerNormEpsilon, activation, normalization }: BackboneFacts, width: number): Record<keyof BackboneFacts, string> {
  return {
    heads: `${heads} heads${heads * 64 === width ? ' (width / 64)' : ''}`,
    layerNormEpsilon: `LayerNorm epsilon ${layerNormEpsilon.toExponential()}`,
    activation: activation === 'gelu' ? 'exact GELU' : 'quick GELU',
    normalization: `${normalization.mean[0] === channelNormalization('clip').mean[0] ? 'CLIP\'s' : 'ImageNet'} mean and deviation at the input`,
  };
}

function assumedHeads(file: string, width: number, likely: number | undefined): number {
  if (likely !== undefined && Number.isInteger(likely)) return likely;
  if (width % 64 === 0) return width / 64;
  throw new UserError({
    what: `nothing says how many attention heads there are, and the width ${width} is no multiple of 64 to guess it from`, where: file,
    remedy: 'Set backbone.architecture.heads in the study file.',
  });
}

function warningsFor(file: string, words: Record<keyof BackboneFacts, string>, isAssumed: (key: keyof BackboneFacts) => boolean): string[] {
  const assumed = (Object.keys(words) as (keyof BackboneFacts)[]).filter(isAssumed).map(key => words[key]);
  if (!assumed.length) return [];
  return [`${path.basename(file)} does not say everything about its architecture; assumed: ${assumed.join(', ')}. ` +
    'Set backbone.architecture and backbone.normalization in the study file if that is wrong.'];
}

/** The names that this project writes: heads, layerNormEpsilon, activation, normalization (a name, or {mean, std} as JSON). */
function metadataFacts(file: string, metadata: Readonly<Record<string, string>>): KnownFacts {
  const { heads, layerNormEpsilon, activation, normalization } = metadata;
  const architecture = architectureSchema.safeParse({
    ...(heads === undefined ? {} : { heads: Number(heads) }),
    ...(layerNormEpsilon === undefined ? {} : { layerNormEpsilon: Number(layerNormEpsilon) }),
    ...(activation === undefined ? {} : { activation }),
  });
  if (!architecture.success) throw invalid(`${file} (metadata)`, architecture.error.issues[0]!);
  if (normalization === undefined) return architecture.data;
  return { ...architecture.data, normalization: parseNormalization(file, normalization) };
}

function parseNormalization(file: string, text: string): ChannelNormalization {
  const where = `${file} (metadata, normalization)`;
  const parsed = normalizationSchema.safeParse(text.startsWith('{') ? parseJson(where, text) : text);
  if (!parsed.success) throw invalid(where, parsed.error.issues[0]!);
  if (parsed.data === 'backbone') throw invalid(where, { path: [], message: 'a backbone cannot refer to itself' });
  return channelNormalization(parsed.data);
}

/** config.json of timm or transformers, OpenCLIP's own, and the pre-processing that transformers keeps apart. */
async function configFacts(folder: string): Promise<KnownFacts> {
  const facts: KnownFacts = {};
  for (const [name, read] of Object.entries(configReaders)) {
    const file = path.join(folder, name);
    const config = await readConfig(file);
    if (config) Object.assign(facts, defined(read(config, file)));
  }
  return facts;
}

type ConfigReader = (config: Record<string, unknown>, file: string) => KnownFacts;

/** By file name; later ones win. */
const configReaders: Record<string, ConfigReader> = {
  'config.json': (config, file) => ({ ...timmFacts(config), ...defined(transformersFacts(file, config)) }),
  'preprocessor_config.json': preprocessorFacts,
  'open_clip_config.json': openClipFacts,
};

async function readConfig(file: string): Promise<Record<string, unknown> | null> {
  const text = await fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  return text === null ? null : parseJson(file, text);
}

/** transformers: image_mean and image_std unless do_normalize is false. */
function preprocessorFacts({ do_normalize: normalizes, image_mean: mean, image_std: std }: Record<string, unknown>): KnownFacts {
  if (normalizes === false) return { normalization: channelNormalization('none') };
  return { normalization: normalizationOf(mean, std) };
}

/** OpenCLIP: exact GELU unless quick_gelu is set; heads as wide as head_width, 64 when absent. */
function openClipFacts({ model_cfg: model, preprocess_cfg: preprocessing }: Record<string, unknown>): KnownFacts {
  const { vision_cfg: vision, quick_gelu: isQuick } = isObject(model) ? model : {};
  const { width, head_width: headWidth = 64 } = isObject(vision) ? vision : {};
  const { mean, std } = isObject(preprocessing) ? preprocessing : {};
  return {
    heads: typeof width === 'number' && typeof headWidth === 'number' ? width / headWidth : undefined,
    activation: isObject(vision) ? (isQuick === true ? 'quick-gelu' : 'gelu') : undefined,
    normalization: normalizationOf(mean, std),
  };
}

function normalizationOf(mean: unknown, std: unknown): ChannelNormalization | undefined {
  const [means, deviations] = [tripleOf(mean), tripleOf(std)];
  return means && deviations ? { mean: means, std: deviations } : undefined;
}

function timmFacts(config: Record<string, unknown>): KnownFacts {
  const name = config['architecture'];
  const cfg = isObject(config['pretrained_cfg']) ? config['pretrained_cfg'] : {};
  const normalization = normalizationOf(cfg['mean'], cfg['std']);
  if (typeof name !== 'string') return { normalization };
  const { num_heads: heads, act_layer: activation } = isObject(config['model_args']) ? config['model_args'] : {};
  const own = defined({
    heads: typeof heads === 'number' ? heads : undefined,
    activation: activation === 'quick_gelu' ? 'quick-gelu' : activation === 'gelu' ? 'gelu' : undefined,
  });
  const preset = findPreset(name);
  const named = preset || name.includes('_clip_') ? timmActivation(name, cfg['tag']) : undefined;
  return { heads: preset?.heads, layerNormEpsilon: preset?.layerNormEpsilon, activation: named, normalization, ...own };
}

/** timm's plain CLIP names mean exact GELU, except for the weights that OpenAI trained with the quick one. */
function timmActivation(name: string, tag: unknown): Architecture['activation'] {
  const quick = name.includes('quickgelu') || (name.includes('_clip_') && (tag === 'openai' || name.endsWith('.openai')));
  return quick ? 'quick-gelu' : 'gelu';
}

/** Of the vision tower where the model has two; what a known kind of model leaves out has transformers' default. */
function transformersFacts(file: string, config: Record<string, unknown>): KnownFacts {
  const vision = isObject(config['vision_config']) ? { model_type: 'clip_vision_model', ...config['vision_config'] } : config;
  const kind = vision['model_type'];
  const defaults = typeof kind === 'string' && Object.hasOwn(transformersDefaults, kind) ? transformersDefaults[kind]! : {};
  const { num_attention_heads: heads, layer_norm_eps: epsilon, hidden_act: activation } = { ...defaults, ...vision };
  return {
    heads: typeof heads === 'number' ? heads : undefined,
    layerNormEpsilon: typeof epsilon === 'number' ? epsilon : undefined,
    activation: activation === undefined ? undefined : transformersActivation(file, activation),
  };
}

/** What transformers' configuration classes take where config.json says nothing. */
const transformersDefaults: Record<string, Record<string, unknown>> = {
  ...Object.fromEntries(['vit', 'vit_mae', 'deit'].map(kind => [kind, { num_attention_heads: 12, layer_norm_eps: 1e-12, hidden_act: 'gelu' }])),
  dinov2: { num_attention_heads: 12, layer_norm_eps: 1e-6, hidden_act: 'gelu' },
  clip_vision_model: { num_attention_heads: 12, layer_norm_eps: 1e-5, hidden_act: 'quick_gelu' },
};

function transformersActivation(file: string, name: unknown): Architecture['activation'] {
  if (name === 'gelu' || name === 'gelu_python') return 'gelu';
  if (name === 'quick_gelu') return 'quick-gelu';
  throw new UserError({
    what: `the activation ${JSON.stringify(name)} is not supported`, where: `${file} (hidden_act)`,
    remedy: 'Backbones with gelu (exact) or quick_gelu can be used.',
  });
}

function parseJson(file: string, text: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(text);
    if (isObject(json)) return json;
  } catch (cause) {
    throw new UserError({ what: `this is not JSON (${(cause as Error).message})`, where: file, remedy: 'Mend or remove it.', cause });
  }
  throw new UserError({ what: 'this is not a JSON object', where: file, remedy: 'Mend or remove it.' });
}

function invalid(where: string, issue: { path: PropertyKey[]; message: string }): UserError {
  return new UserError({
    what: `${issue.path.join('.') || 'the value'} is not valid: ${issue.message}`, where,
    remedy: 'Say it in the study file (backbone.architecture, backbone.normalization) or write the file again.',
  });
}

function tripleOf(value: unknown): [number, number, number] | undefined {
  const isTriple = Array.isArray(value) && value.length === 3 && value.every(v => typeof v === 'number');
  return isTriple ? (value as [number, number, number]) : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function defined(facts: KnownFacts): KnownFacts {
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
}

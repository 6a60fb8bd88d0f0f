/** What tensor shapes cannot say of a backbone, from the study file, the file's metadata or a config.json beside it. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { channelNormalization } from '../common/normalization';
import { architectureSchema, normalizationSchema } from '../common/study';
import type { Architecture, ChannelNormalization } from '../common/trial';
import { presets } from './presets';

export interface Facts {
  heads: number;
  layerNormEpsilon: number;
  activation: Architecture['activation'];
  normalization: ChannelNormalization;
}

export type KnownFacts = { [Key in keyof Facts]?: Facts[Key] | undefined };

export interface FactSources {
  file: string;
  width: number;
  /** What the study file says. */
  study: KnownFacts;
  /** The safetensors file's own metadata. */
  metadata: Record<string, string>;
}

/** The first source that knows wins; what none knows is assumed, with a warning in words. */
export async function findFacts({ file, width, study, metadata }: FactSources): Promise<{ facts: Facts; warnings: string[] }> {
  const known = [study, metadataFacts(file, metadata), await configFacts(path.join(path.dirname(file), 'config.json'))];
  const find = <Key extends keyof Facts>(key: Key) => known.find(source => source[key] != null)?.[key] as Facts[Key] | undefined;
  const heads = find('heads') ?? assumedHeads(file, width);
  if (width % heads) {
    throw new UserError({
      what: `${heads} heads do not divide the width ${width}`, where: file,
      remedy: 'Correct backbone.architecture.heads in the study file.',
    });
  }
  return {
    facts: {
      heads,
      layerNormEpsilon: find('layerNormEpsilon') ?? 1e-6,
      activation: find('activation') ?? 'gelu',
      normalization: find('normalization') ?? channelNormalization('imagenet'),
    },
    warnings: warningsFor(file, { heads: `${heads} heads (width / 64)`, layerNormEpsilon: 'LayerNorm epsilon 1e-6', activation: 'exact GELU',
      normalization: 'ImageNet mean and deviation at the input' }, key => find(key) === undefined),
  };
}

function assumedHeads(file: string, width: number): number {
  if (width % 64 === 0) return width / 64;
  throw new UserError({
    what: `nothing says how many attention heads there are, and the width ${width} is no multiple of 64 to guess it from`, where: file,
    remedy: 'Set backbone.architecture.heads in the study file.',
  });
}

function warningsFor(file: string, words: Record<keyof Facts, string>, isAssumed: (key: keyof Facts) => boolean): string[] {
  const assumed = (Object.keys(words) as (keyof Facts)[]).filter(isAssumed).map(key => words[key]);
  if (!assumed.length) return [];
  return [`${path.basename(file)} does not say everything about its architecture; assumed: ${assumed.join(', ')}. ` +
    'Set backbone.architecture and backbone.normalization in the study file if that is wrong.'];
}

/** The names that this project writes: heads, layerNormEpsilon, activation, normalization (a name, or {mean, std} as JSON). */
function metadataFacts(file: string, metadata: Record<string, string>): KnownFacts {
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

/** timm's config.json ({architecture, pretrained_cfg}) or transformers' ({num_attention_heads, layer_norm_eps, hidden_act}). */
async function configFacts(file: string): Promise<KnownFacts> {
  const text = await fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return {};
  const config = parseJson(file, text);
  return { ...timmFacts(config), ...defined(transformersFacts(file, config)) };
}

function timmFacts(config: Record<string, unknown>): KnownFacts {
  const name = config['architecture'];
  const cfg = isObject(config['pretrained_cfg']) ? config['pretrained_cfg'] : {};
  const normalization = tripleOf(cfg['mean']) && tripleOf(cfg['std']) ? { mean: tripleOf(cfg['mean'])!, std: tripleOf(cfg['std'])! } : undefined;
  if (typeof name !== 'string') return { normalization };
  const preset = Object.entries(presets).find(([key]) => key === name.replace('_clip_quickgelu_', '_clip_').split('.')[0])?.[1];
  if (!preset) return { normalization };
  const { heads, layerNormEpsilon } = preset;
  return { heads, layerNormEpsilon, activation: timmActivation(name, cfg['tag']), normalization };
}

/** timm's plain CLIP names mean exact GELU, except for the weights that OpenAI trained with the quick one. */
function timmActivation(name: string, tag: unknown): Architecture['activation'] {
  const quick = name.includes('quickgelu') || (name.includes('_clip_') && (tag === 'openai' || name.endsWith('.openai')));
  return quick ? 'quick-gelu' : 'gelu';
}

function transformersFacts(file: string, config: Record<string, unknown>): KnownFacts {
  const { num_attention_heads: heads, layer_norm_eps: epsilon, hidden_act: activation } = config;
  return {
    heads: typeof heads === 'number' ? heads : undefined,
    layerNormEpsilon: typeof epsilon === 'number' ? epsilon : undefined,
    activation: activation === undefined ? undefined : transformersActivation(file, activation),
  };
}

function transformersActivation(file: string, name: unknown): Architecture['activation'] {
  if (name === 'gelu') return 'gelu';
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

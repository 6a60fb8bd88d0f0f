/**
 * An adapter as Hugging Face's PEFT keeps it: adapter_config.json and adapter_model.safetensors. Here the files become
 * layers with what acts on each, in neutral form; interop/peft-methods.ts says which method that is.
 * Format: https://huggingface.co/docs/peft/developer_guides/checkpoint
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { UserError } from '../common/errors';
import { type FloatTensor, type FloatTensors, readFloatTensors } from './float-tensors';
import { type Dialect, type Place, findPlace } from './module-names';
import { writeSafetensors } from './safetensors';

export const peftConfigFile = 'adapter_config.json', peftTensorFile = 'adapter_model.safetensors';

export type PeftKind = 'LORA' | 'IA3' | 'LN_TUNING';

/** What acts on one layer, by the tensors' names in the file: lora_A, lora_B, lora_magnitude_vector, ia3_l, weight, bias. */
export interface PeftModule extends Place {
  /** As the file calls it. */
  name: string;
  tensors: FloatTensors;
  /** Of a low-rank update: alpha / r, or alpha / sqrt(r). */
  scale: number;
  /** Of a rescaling: whether it acts on the layer's input rather than its output. */
  onInput: boolean;
}

export interface PeftFolder {
  folder: string;
  kind: PeftKind;
  dialect: Dialect;
  modules: PeftModule[];
  dropout: number;
  rsLora: boolean;
  head: { weight: FloatTensor; bias: FloatTensor } | null;
  /** What PEFT noted of the backbone. */
  baseModel: string | null;
}

const configSchema = z.looseObject({
  peft_type: z.string(),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().positive().optional(),
  lora_alpha: z.number().optional(),
  lora_dropout: z.number().optional(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  use_rslora: z.boolean().nullish(),
  use_dora: z.boolean().nullish(),
  bias: z.string().nullish(),
  init_lora_weights: z.union([z.boolean(), z.string()]).nullish(),
  feedforward_modules: z.union([z.string(), z.array(z.string())]).nullish(),
});
type Config = z.output<typeof configSchema>;

/** UserErrors for what is missing, damaged, or what PEFT Lab has no equal for, with the key. */
export async function readPeftFolder(folder: string): Promise<PeftFolder> {
  const config = await readConfig(folder);
  const kind = kindOf(config, folder);
  refuseVariants(config, folder);
  const { modules, head, dialect } = sortTensors(await readTensors(folder), { config, folder });
  return {
    folder, kind, modules, head, dialect, baseModel: config.base_model_name_or_path ?? null,
    dropout: config.lora_dropout ?? 0, rsLora: config.use_rslora ?? false,
  };
}

/** What a method becomes: its kind's own settings beside the target modules, and the tensors by layer name. */
export interface PeftForm {
  config: Record<string, unknown>;
  modules: { name: string; tensors: FloatTensors }[];
}

export interface PeftFolderToWrite {
  config: Record<string, unknown>;
  /** By their whole names in the file. */
  tensors: FloatTensors;
}

/** `base_model.model.` and the layer's name go before each tensor; see PeftModule for the rest. */
export async function writePeftFolder(folder: string, { config, tensors }: PeftFolderToWrite): Promise<void> {
  await fs.mkdir(folder, { recursive: true });
  await writeSafetensors(path.join(folder, peftTensorFile), tensors, { format: 'pt' });
  await fs.writeFile(path.join(folder, peftConfigFile), `${JSON.stringify(config, null, 2)}\n`);
}

export function isPeftFolder(names: readonly string[]): boolean {
  return names.includes(peftConfigFile);
}

async function readConfig(folder: string): Promise<Config> {
  const where = path.join(folder, peftConfigFile);
  let json: unknown;
  try {
    json = JSON.parse(await fs.readFile(where, 'utf8'));
  } catch (cause) {
    throw new UserError({ what: `it cannot be read as JSON (${(cause as Error).message})`, where, remedy: 'Save the adapter again with save_pretrained.', cause });
  }
  const parsed = configSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UserError({ what: `${issue!.path.join('.') || 'the file'} is not as PEFT writes it: ${issue!.message}`, where, remedy: 'Save the adapter again with save_pretrained.' });
}

const kinds: readonly PeftKind[] = ['LORA', 'IA3', 'LN_TUNING'];

function kindOf({ peft_type: type }: Config, folder: string): PeftKind {
  const kind = kinds.find(known => known === type);
  if (kind) return kind;
  throw new UserError({
    what: `PEFT Lab has no method for adapters of the type ${type}`, where: path.join(folder, peftConfigFile),
    remedy: 'LORA (rsLoRA and DoRA included), IA3 and LN_TUNING can be imported. Others can be merged with merge_and_unload in PEFT and used as a backbone.',
  });
}

/** Settings that change what is computed and that no method here has an equal for; anything but false, null or empty is refused. */
const unsupported = [
  'fan_in_fan_out', 'layer_replication', 'use_qalora', 'lora_bias', 'target_parameters', 'trainable_token_indices', 'use_bdlora',
  'alora_invocation_tokens', 'arrow_config', 'kasa_config', 'velora_config',
] as const;
/** Initialisers that take a part out of the backbone's own weights, so that the adapter does not fit the backbone as published. */
const changesBackbone = /^(pissa|olora|corda|loftq|lora_ga)/;

function refuseVariants(config: Config, folder: string): void {
  const where = path.join(folder, peftConfigFile);
  const set = unsupported.find(key => !isNothing(config[key]));
  if (set) throw new UserError({ what: `"${set}" is set, and PEFT Lab has no equal for it`, where, remedy: 'Merge the adapter with merge_and_unload in PEFT, and use the result as a backbone.' });
  const start = config.init_lora_weights;
  if (typeof start === 'string' && changesBackbone.test(start)) {
    throw new UserError({
      what: `with init_lora_weights "${start}" the adapter belongs to a backbone whose weights that initialiser changed`, where,
      remedy: 'Convert it to plain LoRA when saving: save_pretrained(..., path_initial_model_for_weight_conversion=...) in PEFT.',
    });
  }
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null || value === false || (typeof value === 'object' && Object.keys(value).length === 0);
}

async function readTensors(folder: string): Promise<FloatTensors> {
  const names = await fs.readdir(folder);
  if (names.includes(peftTensorFile)) return readFloatTensors(path.join(folder, peftTensorFile));
  const pickle = names.find(name => /^adapter_model\.(bin|pt|pth)$/.test(name));
  throw new UserError({
    what: pickle ? `the tensors are in ${pickle}, a pickle, which can run any program when it is opened` : `there is no ${peftTensorFile}`, where: folder,
    remedy: pickle
      ? `Convert it where you trust it: python -c "import torch; from safetensors.torch import save_file; save_file(torch.load('${pickle}', weights_only=True), '${peftTensorFile}')".`
      : 'Save the adapter again with save_pretrained.',
  });
}

/** Tensors of layers end in one of these; PEFT leaves out the adapter's name, older versions and other writers may not. */
const endings = /\.(lora_A|lora_B|lora_magnitude_vector|ia3_l|ln_tuning_layers|base_layer)(?:\.(?!weight$|bias$)[\w-]+)?(?:\.(weight|bias))?$/;

interface SortContext { config: Config; folder: string }

function sortTensors(tensors: FloatTensors, context: SortContext): Pick<PeftFolder, 'modules' | 'head' | 'dialect'> {
  const modules = new Map<string, PeftModule>();
  const head: FloatTensors = {};
  const spoken: (readonly Dialect[])[] = [];
  for (const [key, tensor] of Object.entries(tensors)) {
    const name = key.replace(/^base_model\.(model\.)?/, '');
    const headPart = /^(?:head|classifier)\.(?:modules_to_save\.(?:[\w-]+\.)?)?(weight|bias)$/.exec(name)?.[1];
    if (headPart) head[headPart] = tensor;
    else if (!/^(head|classifier)\.(original_module|base_layer)\./.test(name)) spoken.push(addToModule(modules, { key, name, tensor }, context));
  }
  if (!modules.size) throw new UserError({ what: 'it changes no layer of a ViT', where: path.join(context.folder, peftTensorFile), remedy: 'Save the adapter again with save_pretrained.' });
  const dialect = (['timm', 'hf', 'hf4'] as const).find(d => spoken.every(list => list.includes(d)));
  if (!dialect) throw new UserError({ what: 'its tensors mix the names of timm and of transformers', where: path.join(context.folder, peftTensorFile), remedy: 'Save the adapter again with save_pretrained.' });
  return { modules: [...modules.values()], head: headOf(head, context.folder), dialect };
}

function headOf({ weight, bias }: FloatTensors, folder: string): PeftFolder['head'] {
  if (!weight) return null;
  if (weight.shape.length !== 2) throw new UserError({ what: `the classifier's weight is [${weight.shape.join(', ')}], not [classes, width]`, where: path.join(folder, peftTensorFile), remedy: 'Save the adapter again with save_pretrained.' });
  return { weight, bias: bias ?? { shape: [weight.shape[0]!], data: new Float32Array(weight.shape[0]!) } };
}

/** Returns the dialects that have the layer's name. */
function addToModule(modules: Map<string, PeftModule>, { key, name, tensor }: { key: string; name: string; tensor: FloatTensor }, context: SortContext): readonly Dialect[] {
  const match = endings.exec(name);
  const moduleName = match ? name.slice(0, match.index) : name;
  const place = match && findPlace(moduleName);
  const where = `${path.join(context.folder, peftTensorFile)} (tensor '${key}')`;
  if (!place) {
    throw new UserError({
      what: match ? 'this is no layer of a plain ViT in the names of timm or transformers' : 'PEFT Lab cannot tell what this tensor does', where,
      remedy: 'Adapters of timm\'s VisionTransformer and of transformers\' ViTForImageClassification can be imported; of modules_to_save the classifier alone.',
    });
  }
  if (match[1] === 'base_layer') {
    throw new UserError({ what: `biases were trained with it (bias="${context.config.bias ?? ''}"), and no method here trains both`, where, remedy: 'Train with bias="none", or merge the adapter in PEFT and use the result as a backbone.' });
  }
  const module = modules.get(moduleName) ?? { path: place.path, third: place.third, name: moduleName, tensors: {}, scale: 1, onInput: isFeedForward(moduleName, context) };
  const part = match[1] === 'ln_tuning_layers' ? match[2]! : match[1]!;
  module.tensors[part] = tensor;
  if (part === 'lora_A') module.scale = scaleOf(moduleName, tensor.shape[0]!, context);
  modules.set(moduleName, module);
  return place.dialects;
}

function scaleOf(name: string, rank: number, { config, folder }: SortContext): number {
  const { lora_alpha: alpha = 8, alpha_pattern: pattern, use_rslora: rsLora } = config;
  // PEFT: the end of the layer's name, a regular expression.
  const matches = (end: string) => isEnd(end, name) || regularExpression(end, { key: 'alpha_pattern', folder, before: '(.*\\.)?' }).test(name);
  const own = Object.entries(pattern ?? {}).find(([end]) => matches(end))?.[1] ?? alpha;
  return own / (rsLora ? Math.sqrt(rank) : rank);
}

function isFeedForward(name: string, { config: { feedforward_modules: modules }, folder }: SortContext): boolean {
  if (typeof modules === 'string') return regularExpression(modules, { key: 'feedforward_modules', folder }).test(name);
  return (modules ?? []).some(end => isEnd(end, name));
}

function isEnd(end: string, name: string): boolean {
  return name === end || name.endsWith(`.${end}`);
}

/** Python's and JavaScript's regular expressions differ where few people go: UserError for one that has no meaning here. */
function regularExpression(source: string, { key, folder, before = '' }: { key: string; folder: string; before?: string }): RegExp {
  try {
    return new RegExp(`^${before}(${source})$`);
  } catch (cause) {
    throw new UserError({
      what: 'this regular expression of Python\'s cannot be read here', where: `${path.join(folder, peftConfigFile)} ("${key}": "${source}")`,
      remedy: 'Write plain layer names instead.', cause,
    });
  }
}

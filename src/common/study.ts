/**
 * The study file, `*.peft.json`: one schema for the TypeScript type, the validation and media/study.schema.json.
 *
 * Method options are declared by the methods themselves; whoever validates passes them in (`studySchema(methods)`),
 * so that this folder depends on nothing.
 */
import { z } from 'zod';
import { combinedId, type Combinable } from './combination';
import { engineChoices, precisions } from './engines';

/** What the schema needs to know of a method: its id, the schema of its options, and what it can be combined with. */
export interface MethodOptionSchema extends Combinable {
  summary: string;
  /** Offered in a new study without asking. */
  suggested?: boolean;
  /** Object schema with a default for every option. */
  options: z.ZodObject;
}

const scalar = z.union([z.number(), z.string(), z.boolean()]);

/** A search range: the values to try, or an interval (`steps` is how many values a grid takes from it). */
const searchRangeSchema = z.strictObject({
  search: z.union([
    z.array(scalar).min(1),
    z.strictObject({
      min: z.number(),
      max: z.number(),
      scale: z.enum(['linear', 'log']).default('linear'),
      integer: z.boolean().default(false),
      steps: z.int().min(2).default(3).describe('How many values a grid takes from the interval.'),
    }),
  ]).describe('Values to try, or an interval {min, max, scale, integer, steps}.'),
});
export type SearchRange = z.infer<typeof searchRangeSchema>;

const searchable = <T extends z.ZodType>(schema: T) => z.union([schema, searchRangeSchema]);

export const architectureSchema = z.strictObject({
  heads: z.int().positive().describe('Attention heads; width / 64 when nothing says otherwise.'),
  layerNormEpsilon: z.number().positive().describe('LayerNorm epsilon; 1e-6 when nothing says otherwise.'),
  activation: z.enum(['gelu', 'quick-gelu']).describe('gelu is the exact one; quick-gelu is x * sigmoid(1.702 x).'),
}).partial();

const triple = z.tuple([z.number(), z.number(), z.number()]);
export const normalizationSchema = z.union([
  z.enum(['backbone', 'none', 'imagenet', 'clip', '0.5']),
  z.strictObject({ mean: triple, std: triple }),
]);

const backboneSchema = z.strictObject({
  file: z.string().optional().describe('A safetensors file (names of timm, Hugging Face, CLIP, OpenCLIP, DINOv2 or MAE) or one of Google\'s npz; relative to the study file. ' +
    '"demo" is the embedded small ViT. Give "file" or "hub".'),
  hub: z.union([
    z.string(),
    z.strictObject({
      repository: z.string().describe('owner/name'),
      revision: z.string().optional().describe('Branch, tag or commit; main when absent.'),
      file: z.string().optional().describe('Which of its safetensors or npz files; model.safetensors when absent.'),
    }),
  ]).optional().describe('A repository of the Hugging Face hub, like timm/deit_tiny_patch16_224.fb_in1k, fetched into the cache that Python shares. ' +
    'HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE count.'),
  name: z.string().optional().describe('What to call it in tables; the name of the file or repository when absent.'),
  architecture: architectureSchema.optional()
    .describe('What tensor shapes cannot say; otherwise read from the file\'s metadata or a config.json beside it.'),
  imageSize: z.int().positive().optional()
    .describe('Input side in pixels; positions are resampled (bicubic) when it differs from the backbone\'s own.'),
  normalization: normalizationSchema.optional().describe('What "backbone" means in recipe.normalization.'),
}).register(z.globalRegistry, { oneOf: [{ required: ['file'] }, { required: ['hub'] }] });

const dataSetFields = {
  name: z.string().optional().describe('What to call it in tables; the folder name when absent.'),
  path: z.string().describe('Folder of images or CSV file, relative to the study file.'),
  format: z.enum(['auto', 'image-folder', 'vtab', 'csv']).default('auto')
    .describe('image-folder: a folder a class; vtab: train800.txt and the like, `path label` lines; csv: columns path, label, split.'),
};
const dataSetSchema = z.strictObject({
  ...dataSetFields,
  classes: z.array(z.string()).optional().describe('Class names in the order of their labels; otherwise sorted by name.'),
  textEmbeddings: z.string().optional().describe('A safetensors file with the class names\' embeddings by a CLIP text encoder and its logit scale; relative to the study file. ' +
    'The head starts from them, on CLIP\'s projection, and is zero-shot before training.'),
  splits: z.strictObject({
    train: z.string().default('train'),
    validation: z.string().default('val'),
    test: z.string().default('test'),
  }).prefault({}).describe('What the data set calls its splits (folder, list file without .txt, or value of the split column).'),
  holdOut: z.strictObject({
    validation: z.number().gt(0).lt(1).default(0.2),
    test: z.number().gt(0).lt(1).default(0.2),
    seed: z.int().default(0),
    groups: z.string().optional()
      .describe('CSV column, or a regular expression on the path whose first group names the patient, video, ...; a group stays on one side.'),
  }).prefault({}).describe('How splits that the data set lacks are drawn: stratified by class, by seed.'),
  onBadImage: z.enum(['stop', 'skip']).default('stop').describe('A corrupt, empty or non-image file: stop the study, or skip and count it.'),
});
export type DataSetSpec = z.infer<typeof dataSetSchema>;

const augmentations = ['random-resized-crop', 'horizontal-flip', 'vertical-flip'] as const;

export const recipeSchema = z.strictObject({
  epochs: z.int().positive().default(100),
  steps: z.int().positive().optional().describe('Stop after this many optimiser steps instead of whole epochs.'),
  batchSize: z.int().positive().default(64),
  optimizer: z.enum(['adamw']).default('adamw'),
  learningRate: searchable(z.number().positive()).default(1e-3),
  weightDecay: searchable(z.number().min(0)).default(1e-4).describe('Decoupled; acts on everything that trains, as in the study.'),
  schedule: z.enum(['cosine', 'cosine-study', 'constant']).default('cosine')
    .describe('cosine: every step; cosine-study: constant within an epoch and one epoch late, as the study\'s code ran it; ' +
      'constant: learningRate at every step, without warm-up.'),
  warmupEpochs: z.number().min(0).default(10),
  warmupLearningRate: z.number().min(0).default(1e-6),
  minimumLearningRate: z.number().min(0).default(1e-5),
  dropPath: searchable(z.number().min(0).lt(1)).default(0.1).describe('Rate at the last block; grows linearly from 0 at the first.'),
  precision: z.enum(precisions).default('f32')
    .describe('How matrix products are computed: f32, or tf32, bf16 or f16 where the engine can; parameters stay f32, and f16 scales the loss.'),
  dropout: z.boolean().default(true).describe('false switches off the dropout that methods bring with them.'),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  classWeights: z.enum(['none', 'balanced']).default('none').describe('balanced weighs each class by 1 / its frequency.'),
  augmentation: z.array(z.enum(augmentations)).default([]),
  resize: z.enum(['stretch', 'crop']).default('stretch')
    .describe('stretch: to the square; crop: short side to 256/224 of it, then the centre.'),
  normalization: normalizationSchema.default('backbone'),
  shuffle: z.boolean().default(true),
  dropLast: z.boolean().default(false).describe('Leave out the last, smaller batch of an epoch, as the study does.'),
  trainOn: z.enum(['train', 'train+validation']).default('train')
    .describe('train+validation is the study\'s final run: nothing is left to select on.'),
  selection: z.strictObject({
    metric: z.enum(['top1', 'balanced-accuracy', 'macro-f1']).default('top1'),
    epoch: z.enum(['last', 'best']).default('last').describe('Which epoch\'s adapter is kept; both are always recorded.'),
  }).prefault({}).describe('What the validation split decides.'),
  earlyStopping: z.strictObject({
    patience: z.int().positive().describe('Epochs without a better validation metric.'),
  }).optional(),
  init: z.string().optional().describe('An adapter folder to start from.'),
  seeds: z.array(z.int().min(0)).min(1).default([42]),
});

const evaluationSchema = z.strictObject({
  everyEpochs: z.int().positive().default(1).describe('How often validation and test are evaluated; the last epoch always is.'),
  splits: z.array(z.enum(['validation', 'test'])).default(['validation', 'test']),
  extra: z.array(z.strictObject({ ...dataSetFields, name: z.string(), split: z.string().default('test') })).default([])
    .describe('Further test sets with the same classes, evaluated once at the end.'),
});

const prefixCacheSchema = z.union([
  z.literal('off'),
  z.strictObject({
    precision: z.enum(['f32', 'f16']).default('f32').describe('f32 gives the numbers of a training without it; f16 takes half the room and rounds to 11 bits.'),
    maxGB: z.number().positive().default(20).describe('What the features of all studies may take on disk; the oldest give way.'),
  }),
]).describe('What nothing that trains reaches is computed once and kept on disk, or "off". `peft-lab plan` says how large it gets.');
export type PrefixCache = z.infer<typeof prefixCacheSchema>;

const memorySchema = z.strictObject({
  images: z.union([z.literal('auto'), z.int().positive()]).default('auto')
    .describe('Images that are computed at once; a batch of more is done in parts whose gradients add up. auto: as many as are fast and fit.'),
  recompute: z.enum(['auto', 'off', 'attention', 'blocks']).default('auto')
    .describe('What of the forward pass is computed again instead of kept (engines that run a graph). auto: nothing, unless memory is short.'),
}).describe('How a training step fits into memory; decides no result.');
export type MemorySettings = z.infer<typeof memorySchema>;

/** The whole file. `methods` decides which ids and options are accepted. */
export function studySchema(methods: readonly MethodOptionSchema[]) {
  return z.strictObject({
    $schema: z.string().optional(),
    name: z.string().optional(),
    backbone: backboneSchema,
    data: z.array(dataSetSchema).min(1),
    methods: z.array(methodEntrySchema(methods)).min(1),
    search: z.strictObject({
      algorithm: z.enum(['grid', 'random']).default('grid'),
      trials: z.int().positive().optional().describe('How many trials a random search draws for each method and data set.'),
      seed: z.int().default(0),
    }).prefault({}),
    recipe: recipeSchema.prefault({}),
    evaluation: evaluationSchema.prefault({}),
    prefixCache: prefixCacheSchema.prefault({}),
    memory: memorySchema.prefault({}),
    engine: z.enum(engineChoices).default('auto'),
    launcher: z.enum(['local']).default('local'),
    output: z.string().optional().describe('The store; <study>.peft beside the study file when absent.'),
  });
}
export type Study = z.infer<ReturnType<typeof studySchema>>;
export type Recipe = z.infer<typeof recipeSchema>;
export type Evaluation = z.infer<typeof evaluationSchema>;
export type Normalization = z.infer<typeof normalizationSchema>;
/** Of a combination, `method` is the parts' ids joined by "+", and `options` theirs by id. */
export type MethodEntry = { method: string; options: Record<string, unknown>; name?: string | undefined; recipe?: Partial<Recipe> | undefined };

function methodEntrySchema(methods: readonly MethodOptionSchema[]) {
  const id = z.enum(methods.map(m => m.id) as [string, ...string[]]).transform((method): MethodEntry => ({ method, options: {} }));
  const named = {
    name: z.string().optional().describe('What to call it in tables.'),
    recipe: recipeOverrideSchema.optional().describe('Recipe settings for this method only.'),
  };
  const choices = methods.map(m => z.strictObject({
    method: z.literal(m.id).describe(m.summary),
    options: searchableOptions(m.options).prefault({}),
  }));
  const entries = choices.map(choice => choice.extend(named));
  const parts = z.array(z.union([id, discriminated(choices)])).min(2) as unknown as z.ZodType<MethodEntry[]>;
  return z.union([
    id,
    discriminated(entries),
    parts.transform(combination).describe('Methods trained together.'),
    z.strictObject({ methods: parts.describe('Methods trained together.'), ...named })
      .transform(({ methods: together, ...rest }): MethodEntry => ({ ...combination(together), ...rest as Pick<MethodEntry, 'name' | 'recipe'> })),
  ]).describe('A method id, or {method, options}; an option may be a search range. A list of them, or {methods, name, recipe}, is trained together.',
  ) as unknown as z.ZodType<MethodEntry>;
}

function discriminated<Choice extends z.ZodObject>(choices: readonly Choice[]) {
  return z.discriminatedUnion('method', choices as unknown as [Choice]);
}

function combination(parts: readonly MethodEntry[]): MethodEntry {
  return { method: combinedId(parts.map(({ method }) => method)), options: Object.fromEntries(parts.map(({ method, options }) => [method, options])) };
}

/** Without their defaults, which would override the study's recipe. */
const recipeOverrideSchema = z.strictObject({
  learningRate: recipeSchema.shape.learningRate.unwrap(), weightDecay: recipeSchema.shape.weightDecay.unwrap(),
  epochs: recipeSchema.shape.epochs.unwrap(), batchSize: recipeSchema.shape.batchSize.unwrap(),
  dropPath: recipeSchema.shape.dropPath.unwrap(), warmupEpochs: recipeSchema.shape.warmupEpochs.unwrap(),
}).partial();

/** Every option optional, and either its own type or a search range. Defaults are applied when a trial is resolved. */
function searchableOptions(options: z.ZodObject): z.ZodObject {
  return z.strictObject(Object.fromEntries(Object.entries(options.shape).map(([name, schema]) => {
    const inner = schema as z.ZodType;
    const hasDefault = inner instanceof z.ZodDefault;
    const wrapped = z.union([hasDefault ? inner.unwrap() as z.ZodType : inner, searchRangeSchema]).optional();
    const { description, search } = inner.meta() ?? {};
    return [name, wrapped.meta({ ...description && { description }, ...hasDefault && { default: inner.def.defaultValue }, ...Array.isArray(search) && { examples: search } })];
  })));
}

/** One trial out of a study, the facts about its inputs, and what a search chose. Pure. */
import type { z } from 'zod';
import { isSearchRange } from './check-study';
import { isCombined } from './combination';
import { UserError } from './errors';
import { channelNormalization } from './normalization';
import type { MethodEntry, Study } from './study';
import type { ChannelNormalization, ParameterCount, ResolvedRecipe, Trial, TrialDataSet } from './trial';
import { trialId } from './trial-id';

export type Assignment = Record<string, number | string | boolean>;

/** What the files behind a study say; found once, before anything is resolved. */
export interface StudyFacts {
  /** The study's name. */
  study: string;
  backbone: Trial['backbone'] & { normalization: ChannelNormalization };
  methods: Readonly<Record<string, { version: number; options: z.ZodObject }>>;
  recipeVersion: number;
  /** The adapter that `recipe.init` names: its absolute folder and the hash of its contents. */
  init: { folder: string; fingerprint: string } | null;
  count(model: { method: string; options: Record<string, unknown>; classes: number; projection: number | undefined }): ParameterCount;
}

export interface TrialChoice {
  study: Study;
  facts: StudyFacts;
  dataSet: TrialDataSet;
  entry: MethodEntry;
  /** By dotted key: `options.rank`, `recipe.learningRate`. */
  assignment: Assignment;
  seed: number;
}

export function resolveTrial({ study, facts, dataSet, entry, assignment, seed }: TrialChoice): Trial {
  const { normalization: _, ...found } = facts.backbone;
  const projection = dataSet.textEmbeddings?.width;
  const backbone = projection === undefined ? found : { ...found, architecture: { ...found.architecture, projection } };
  const options = resolveOptions(entry, facts, assignment);
  const trial: Omit<Trial, 'id'> = {
    study: facts.study, backbone, data: dataSet,
    method: { id: entry.method, name: methodName(study, entry), version: facts.methods[entry.method]!.version, options },
    recipe: resolveRecipe(study, { entry, facts, assignment, seed }),
    recipeVersion: facts.recipeVersion,
    evaluation: study.evaluation,
    assignment,
    engine: study.engine,
    prefixCache: study.prefixCache,
    memory: study.memory,
    parameters: facts.count({ method: entry.method, options, classes: dataSet.classes.length, projection }),
    ...facts.init && { initFingerprint: facts.init.fingerprint },
  };
  return { id: trialId(trial), ...trial };
}

/** The entry's own name; else its method, and what tells it from the study's other entries of that method. */
export function methodName(study: Pick<Study, 'methods'>, entry: MethodEntry): string {
  if (entry.name) return entry.name;
  const alike = study.methods.filter(other => other.method === entry.method && !other.name);
  if (alike.length < 2) return entry.method;
  const differing = Object.entries(settingsOf(entry))
    .filter(([key, value]) => typeof value !== 'object' && alike.some(other => settingsOf(other)[key] !== value));
  const suffix = differing.map(([key, value]) => `${key}=${String(value)}`).join(' ') || (alike.indexOf(entry) ? String(alike.indexOf(entry) + 1) : '');
  return [entry.method, suffix].filter(Boolean).join(' ');
}

/** Options and recipe by key; the options of a combination's parts by `lora.rank`. */
function settingsOf({ method, options, recipe }: MethodEntry): Record<string, unknown> {
  const own = isCombined(method)
    ? Object.entries(options).flatMap(([id, part]) => Object.entries(part as object).map(([key, value]) => [`${id}.${key}`, value as unknown] as const))
    : Object.entries(options);
  return { ...Object.fromEntries(own), ...recipe };
}

/** Assigned values where the study gives ranges; the method's defaults where it says nothing. */
function resolveOptions(entry: MethodEntry, { methods }: StudyFacts, assignment: Assignment): Record<string, unknown> {
  const chosen = assign(entry.options, 'options', assignment);
  const parsed = methods[entry.method]!.options.safeParse(chosen);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UserError({ what: issue?.message ?? 'the options are not valid', where: `${entry.method}, options.${issue?.path.join('.') ?? ''}`, remedy: 'Correct the option in the study file.' });
}

function resolveRecipe(study: Study, { entry, facts, assignment, seed }: Pick<TrialChoice, 'entry' | 'facts' | 'assignment' | 'seed'>): ResolvedRecipe {
  const { seeds: _, normalization, ...shared } = study.recipe;
  const own = Object.entries(entry.recipe ?? {}).filter(([, value]) => value !== undefined);
  const recipe = assign({ ...shared, ...Object.fromEntries(own) }, 'recipe', assignment);
  return {
    ...recipe as Omit<ResolvedRecipe, 'seed' | 'normalization'>,
    ...facts.init && { init: facts.init.folder },
    seed,
    normalization: normalization === 'backbone' ? facts.backbone.normalization : channelNormalization(normalization),
  };
}

function assign(values: Record<string, unknown>, prefix: string, assignment: Assignment): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => {
    if (!isSearchRange(value)) return [key, isPlainObject(value) ? assign(value, `${prefix}.${key}`, assignment) : value];
    const chosen = assignment[`${prefix}.${key}`];
    if (chosen === undefined) throw new Error(`nothing was chosen for ${prefix}.${key}`);
    return [key, chosen];
  }));
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

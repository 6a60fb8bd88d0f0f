/**
 * Methods trained together, as one method of the same contract: every hook runs through the parts in their order, tensors
 * stand side by side, and a base tensor trains when one of the parts trains it.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { refusalOf, type Combinable } from '../common/combination';
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import { baseParameters } from '../vit/architecture';
import { presets } from '../vit/presets';
import type { AttentionInputs, Condensed, FoldInput, HookContext, Hooks, Interpolation, Method, MethodPage } from './method';
import { trainRule } from './trainable';

export interface Part {
  id: string;
  method: Method;
}

/** Options by the parts' ids. */
type Options = Record<string, Record<string, unknown>>;
type Context = HookContext<Record<string, unknown>>;

/** Throws a UserError with the reason where they cannot be trained together. */
export function combineMethods(given: readonly Part[]): Method {
  const refusal = refusalOf(given.map(combinable));
  if (refusal) throw new UserError({ what: refusal.message, where: `method ${given.map(({ id }) => id).join('+')}`, remedy: refusal.remedy });
  const parts = [0, 1, 2].flatMap(place => given.filter(({ method }) => placeOf(method) === place));
  const methods = parts.map(({ method }) => method);
  const of = (options: Record<string, unknown>, { id }: Part) => (options as Options)[id]!;
  return {
    title: methods.map(({ title }) => title).join(' + '),
    summary: `${methods.map(({ title }) => title).join(' and ')}, trained together.`,
    paper: methods[0]!.paper,
    version: methods.reduce((sum, { version }) => sum + version, 0), // versions only rise, and so does their sum
    options: z.strictObject(Object.fromEntries(parts.map(({ id, method }) => [id, method.options.prefault({})]))),
    page: combinedPage(parts, of),
    refuses: (architecture, options) => firstOf(parts, part => part.method.refuses?.(architecture, of(options, part)) ?? null),
    trains: (architecture, options) => {
      const rules = parts.map(part => trainRule(part.method, architecture, of(options, part)));
      return baseParameters(architecture).map(({ name }) => ({ pattern: new RegExp(`^${name.replaceAll('.', '\\.')}$`), train: rules.some(trains => trains(name)) }));
    },
    tensors: (architecture, options) => parts.flatMap(part => part.method.tensors?.(architecture, of(options, part)) ?? []),
    identityAtStart: options => {
      const reasons = parts.map(part => part.method.identityAtStart(of(options, part))).filter(reason => reason !== true);
      return reasons.length ? reasons.join('; ') : true;
    },
    act: combinedHooks(parts),
    fold: (input, options) => foldAll(parts, input, part => of(options, part)),
    ...methods.some(method => method.condense) && { condense: (input, options) => condenseAll(parts, input, options) },
    interpolation: options => combinedInterpolation(parts.map(part => interpolationOf(part.method, of(options, part)))),
    ...methods.some(method => method.interpolate) && {
      interpolate: (input, options) => Object.assign({}, ...parts.map(part => part.method.interpolate?.(input, of(options, part)) ?? {})) as Record<string, Float32Array>,
    },
  };
}

/** What decides with whom a method can be combined: which single places it takes. */
export function combinable({ id, method }: Part): Combinable & { claims: string[]; trainsEverything: boolean } {
  const claims = [
    ...method.act?.headInput ? ['what the classifier reads'] : [],
    ...method.act?.linearWeight || method.actsFirst ? ['the weights of linear layers'] : [],
  ];
  return { id, title: method.title, claims, trainsEverything: trainsEverything(method) };
}

/** What a method says of itself; a reason where there is nothing between frozen and fine-tuned. */
export function interpolationOf({ interpolation }: Pick<Method, 'interpolation'>, options: Record<string, unknown>): Interpolation {
  return typeof interpolation === 'function' ? interpolation(options) : interpolation;
}

function trainsEverything(method: Method): boolean {
  const architecture = Object.values(presets)[0]!;
  const trains = trainRule(method, architecture, method.options.parse({}));
  return baseParameters(architecture).every(({ name }) => trains(name));
}

/** Folding puts what changes a layer's input last, so a method that folds and changes its output as well acts last. */
function placeOf({ actsFirst, act, fold }: Method): number {
  if (actsFirst) return 0;
  return fold && act?.linearInput && act.linearOutput ? 2 : 1;
}

/** The part's own view of a context: its options, and masks that no other part's are taken for. */
function contextOf({ id }: Part, context: Context): Context {
  return {
    ...context, options: (context.options as Options)[id]!,
    dropout: (x, rate, site) => context.dropout(x, rate, `${id}/${site}`),
    dropPath: (x, site) => context.dropPath(x, `${id}/${site}`),
  };
}

function combinedHooks(parts: readonly Part[]): Hooks<Record<string, unknown>> {
  const having = <Name extends keyof Hooks<never>>(name: Name) => parts.filter(part => part.method.act?.[name])
    .map(part => ({ hook: part.method.act![name]!, own: (context: Context) => contextOf(part, context) }));
  const tokens = (name: 'inputTokens' | 'prompts' | 'queries') => (context: Context): Tensor | null => {
    const found = having(name).map(({ hook, own }) => hook(own(context))).filter(x => x !== null);
    return found.length > 1 ? tf.concat(found, 0) : found[0] ?? null;
  };
  const scores = having('attentionScores');
  return {
    inputTokens: tokens('inputTokens'), prompts: tokens('prompts'), queries: tokens('queries'),
    linearInput: (x, site, context) => having('linearInput').reduce((x, { hook, own }) => hook(x, site, own(context)), x),
    linearWeight: (weight, site, context) => having('linearWeight').reduce((weight, { hook, own }) => hook(weight, site, own(context)), weight),
    linearOutput: (y, x, site, context) => having('linearOutput').reduce((y, { hook, own }) => hook(y, x, site, own(context)), y),
    normOutput: (y, site, context) => having('normOutput').reduce((y, { hook, own }) => hook(y, site, own(context)), y),
    attentionInputs: (inputs, context) => having('attentionInputs').reduce<AttentionInputs>((inputs, { hook, own }) => hook(inputs, own(context)), inputs),
    ...scores.length && { attentionScores: (values, context) => scores.reduce((values, { hook, own }) => hook(values, own(context)), values) },
    branchOutput: (y, inputs, branch, context) => having('branchOutput').reduce((y, { hook, own }) => hook(y, inputs, branch, own(context)), y),
    blockOutput: (x, context) => having('blockOutput').reduce((x, { hook, own }) => hook(x, own(context)), x),
    headInput: (x, context) => having('headInput').reduce((x, { hook, own }) => hook(x, own(context)), x),
  };
}

/**
 * Folds one part after the other, each into what the one before it left. What replaces weights comes first, then what acts on a
 * layer's output, then what acts on results further on, and what changes a layer's input comes last, the last of those first: so
 * the products stand in the order of the forward pass.
 */
function foldAll(parts: readonly Part[], input: FoldInput, optionsOf: (part: Part) => Record<string, unknown>): Record<string, Float32Array> | string {
  const stages = [0, 1, 2, 3].map(stage => parts.filter(part => foldStage(part.method) === stage));
  const folded: Record<string, Float32Array> = {};
  for (const part of [...stages.slice(0, 3).flat(), ...stages[3]!.reverse()]) {
    const { method } = part;
    if (!method.act && !method.tensors) continue;
    const own = method.fold?.({ ...input, base: name => folded[name] ?? input.base(name) }, optionsOf(part)) ?? `${method.title} is no change of the backbone's own weights`;
    if (typeof own === 'string') return own;
    Object.assign(folded, own);
  }
  return folded;
}

/** Each part that leaves something out does so; the others' tensors stay as they are. */
function condenseAll(parts: readonly Part[], input: Omit<FoldInput, 'base'>, options: Record<string, unknown>): Condensed | null {
  const found = parts.flatMap(({ id, method }) => {
    const condensed = method.condense?.(input, (options as Options)[id]!);
    return condensed ? [{ id, condensed }] : [];
  });
  if (!found.length) return null;
  return {
    options: { ...options, ...Object.fromEntries(found.map(({ id, condensed }) => [id, condensed.options])) },
    tensors: Object.assign({}, ...found.map(({ condensed }) => condensed.tensors)) as Record<string, Float32Array>,
  };
}

function foldStage({ act = {} }: Method): number {
  if (act.linearInput) return 3;
  if (act.attentionInputs || act.attentionScores || act.branchOutput || act.blockOutput) return 2;
  return act.linearWeight ? 0 : 1;
}

function combinedInterpolation(all: readonly Interpolation[]): Interpolation {
  const refused = all.find(interpolation => 'refused' in interpolation);
  if (refused) return refused;
  const kinds = all.flatMap(interpolation => ('kind' in interpolation ? [interpolation.kind] : []));
  if (kinds.includes('folded')) {
    return kinds.every(kind => kind === 'folded' || kind === 'weights') ? { kind: 'folded' }
      : { refused: 'one of the methods can only be interpolated folded into the backbone, and another only as a module' };
  }
  if (kinds.includes('module')) return { kind: 'module' };
  return { kind: 'parameters' }; // two methods that change one layer multiply
}

function combinedPage(parts: readonly Part[], of: (options: Record<string, unknown>, part: Part) => Record<string, unknown>): MethodPage {
  const pages = parts.map(({ method }) => method.page);
  return {
    kind: pages[0]!.kind,
    equations: pages.flatMap(({ equations }) => equations),
    parameters: {
      formula: pages.map(({ parameters }) => parameters.formula).join(' + '),
      count: (architecture: Architecture, options) => parts.reduce((sum, part) => sum + part.method.page.parameters.count(architecture, of(options, part)), 0),
    },
    findings: pages.map(({ findings }) => findings).join(' '),
    checkedAgainst: pages[0]!.checkedAgainst.filter(what => pages.every(page => page.checkedAgainst.includes(what))),
  };
}

function firstOf<Result>(parts: readonly Part[], find: (part: Part) => Result | null): Result | null {
  for (const part of parts) {
    const found = find(part);
    if (found !== null) return found;
  }
  return null;
}

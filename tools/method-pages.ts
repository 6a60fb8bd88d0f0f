/** The pages of media/methods and the README's table of methods, made from what the methods declare. */
import { z } from 'zod';
import type { Architecture } from '../src/common/trial';
import { combinable, interpolationOf } from '../src/peft/combine';
import { countParameters } from '../src/peft/count';
import { initialize } from '../src/peft/initialize';
import type { Interpolation, Method } from '../src/peft/method';
import { adapterTensors } from '../src/peft/trainable';
import { baseParameters } from '../src/vit/architecture';
import { presets } from '../src/vit/presets';

const shownBackbones = {
  'ViT-B/16': 'vit_base_patch16_224', 'ViT-S/16': 'vit_small_patch16_224', 'DeiT-Tiny': 'deit_tiny_patch16_224',
  'CLIP ViT-B/16': 'vit_base_patch16_clip_224', 'DINOv2 ViT-B/14': 'vit_base_patch14_dinov2',
} as const;

/** By path in the repository. */
export function methodPages(methods: Readonly<Record<string, Method>>): Record<string, string> {
  return Object.fromEntries(Object.entries(methods).map(([id, method]) => [`media/methods/${id}.md`, page(id, method)]));
}

/** method, kind, parameters on ViT-B/16 with the default options, merges, Hugging Face PEFT, checked against. */
export function methodTable(methods: Readonly<Record<string, Method>>): string {
  const rows = Object.entries(methods).map(([id, method]) => [
    `[\`${id}\`](media/methods/${id}.md) ${method.title}`, method.page.kind, grouped(parametersOn('vit_base_patch16_224', method)),
    merges(method).short, method.page.huggingFace ?? '', method.page.checkedAgainst.join(', '),
  ]);
  return table(['method', 'kind', 'parameters on ViT-B/16', 'merges', 'Hugging Face PEFT', 'checked against'], rows);
}

function page(id: string, method: Method): string {
  const { title, summary, paper, page: { kind, equations, parameters, findings, checkedAgainst, huggingFace } } = method;
  const defaults = method.options.parse({});
  const identity = method.identityAtStart(defaults);
  const counts = Object.entries(shownBackbones).map(([name, preset]) => [name, grouped(parametersOn(preset, method))]);
  return `${[
    `# ${title} (\`${id}\`)`,
    `${summary} Kind: ${kind}. [${paper.title}](${paper.url}).`,
    ['```', ...equations, '```'].join('\n'),
    '## Options', optionTable(method.options),
    '## Parameters', `Without the head: ${parameters.formula}.`, table(['backbone', 'parameters with the default options'], counts),
    '## What it does to the backbone',
    [
      `- At the start: ${identity === true ? 'the model computes what the frozen backbone does.' : `not the frozen backbone: ${identity}.`}`,
      `- Merging: ${merges(method).sentence}`,
      `- Between frozen and fine-tuned (WiSE): ${interpolationSentence(interpolationOf(method, defaults))}`,
      `- Together with others: ${togetherSentence(id, method)}`,
      `- Hugging Face PEFT: ${huggingFace ? `${huggingFace}.` : 'that library does not hold it.'}`,
    ].join('\n'),
    '## When it was found good', findings,
    `Checked against: ${checkedAgainst.join(', ')}.`,
  ].join('\n\n')}\n`;
}

function optionTable(options: z.ZodObject): string {
  const entries = Object.entries(options.shape) as [string, z.ZodType][];
  if (!entries.length) return 'None.';
  return table(['option', 'values', 'default', 'grid', ''], entries.map(([name, schema]) => {
    const inner = schema instanceof z.ZodDefault ? schema.unwrap() as z.ZodType : schema;
    const { description = '', search } = { ...inner.meta(), ...schema.meta() } as { description?: string; search?: unknown[] };
    return [`\`${name}\``, valuesText(inner), `\`${JSON.stringify(schema.parse(undefined))}\``, search?.map(String).join(', ') ?? '', description];
  }));
}

function valuesText(schema: z.ZodType): string {
  if (schema instanceof z.ZodNullable) return `${valuesText(schema.unwrap() as z.ZodType)}, null`;
  if (schema instanceof z.ZodEnum) return schema.options.map(String).join(', ');
  if (schema instanceof z.ZodArray) return `list of ${valuesText(schema.element as z.ZodType)}`;
  if (schema instanceof z.ZodUnion) return schema.options.map(option => valuesText(option as z.ZodType)).join(', ');
  if (schema instanceof z.ZodBoolean) return 'true, false';
  if (schema instanceof z.ZodNumber) return schema.isInt ? 'whole number' : 'number';
  return 'text';
}

function interpolationSentence(interpolation: Interpolation): string {
  if ('refused' in interpolation) return `no: ${interpolation.refused}.`;
  switch (interpolation.kind) {
    case 'weights': return 'exact, the model\'s weights move on a straight line.';
    case 'parameters': return 'each trained tensor moves on a straight line; the weights that they make up do not, being products of them.';
    case 'module': return 'what its modules add is scaled.';
    case 'folded': return 'the backbone that it is merged into moves on a straight line.';
    default: return interpolation.kind satisfies never;
  }
}

function togetherSentence(id: string, method: Method): string {
  const { claims, trainsEverything } = combinable({ id, method });
  if (trainsEverything) return 'with none, since it trains the whole backbone.';
  return claims.length ? `with all that do not replace ${claims.join(' or ')} as well.` : 'with all that add other tensors.';
}

/** Which forms fold: the defaults, and every value of an enumeration. */
function merges(method: Method): { short: string; sentence: string } {
  const reason = reasonNotToFold(method, {});
  if (reason === null) return { short: 'yes', sentence: 'yes, exactly.' };
  const forms = Object.entries(method.options.shape).flatMap(([name, schema]) => {
    const inner = schema instanceof z.ZodDefault ? schema.unwrap() as z.ZodType : schema as z.ZodType;
    return inner instanceof z.ZodEnum ? inner.options.map(value => ({ name, value: String(value) })) : [];
  });
  const folding = method.fold ? forms.filter(({ name, value }) => reasonNotToFold(method, { [name]: value }) === null) : [];
  if (!folding.length) return { short: 'no', sentence: `no: ${reason}.` };
  const when = folding.map(({ name, value }) => `${name} ${value}`).join(' or ');
  return { short: `with ${when}`, sentence: `with ${when}; otherwise not: ${reason}.` };
}

/** Small and with every bias, so that folding is quick and nothing is missing. */
const small: Architecture = { ...presets['vit_tiny_patch16_224']!, imageSize: 32, width: 16, heads: 2, hidden: 64, depth: 2 };

function reasonNotToFold(method: Method, given: Record<string, unknown>): string | null {
  const options = method.options.parse(given);
  if (!method.act && !method.tensors) return null;
  if (!method.fold) return 'it is no change of the backbone\'s own weights';
  const base = Object.fromEntries(baseParameters(small).map(({ name, shape }) => [name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.1) }]));
  const trained = initialize(adapterTensors({ architecture: small, method, options, classes: 2 }).map(t => (t.source === 'base' ? t : { ...t, initial: { kind: 'constant', value: 0.1 } as const })), { base, seed: 1 });
  const floats = (tensors: typeof base) => (name: string) => tensors[name]!.data;
  const folded = method.fold({ architecture: small, base: floats(base), trained: name => trained[name]!.data as Float32Array }, options);
  return typeof folded === 'string' ? folded : null;
}

function parametersOn(preset: string, method: Method): number {
  return countParameters({ architecture: { ...presets[preset]!, imageSize: 224 }, method, options: method.options.parse({}), classes: 2 }).trainable;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')).replaceAll(' ', ''), ...rows.map(line)].join('\n');
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

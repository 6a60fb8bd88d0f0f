/** From the names in a file to ours: which dialect it is, and which of its tensors make each of ours. */
import { asIs, type Layout } from '../arrays';
import { type Dialect, type NameRule, type Shapes, projectionName } from './dialect';
import { google, googleByKind } from './google';
import { hfClip } from './hf-clip';
import { hfDinov2, hfDinov2Five } from './hf-dinov2';
import { hfVit, hfVitFive } from './hf-vit';
import { openaiClip } from './openai-clip';
import { timm, timmInChunks } from './timm';

export const dialects: readonly Dialect[] = [timm, timmInChunks, hfVit, hfVitFive, hfDinov2, hfDinov2Five, openaiClip, hfClip, google, googleByKind];

/** One of our tensors: the tensors of the file that make it, one after the other along the first axis. */
export interface MappedTensor {
  shape: readonly number[];
  sources: readonly { name: string; layout: Layout }[];
}

export interface NameMap {
  dialect: Dialect;
  /** In front of the dialect's names in the file: `vision_model.`. */
  prefix: string;
  /** By our names; tensors that no rule knows keep the name they have in the file. */
  tensors: ReadonlyMap<string, MappedTensor>;
  /** How many tensors of the file a rule knows. */
  known: number;
  /** Parts of a tensor of ours that the file lacks, by its own names. */
  missingParts: readonly string[];
  /** What makes it another model than a plain ViT. */
  refusals: readonly { name: string; reason: string }[];
  /** Tensors that take no part: heads, other towers, decoders. */
  leftOut: readonly string[];
  /** What a file of this dialect calls our tensor, parts and all. */
  theirName(ours: string): string;
}

/** The dialect that knows most of the names; null when none knows any. */
export function mapNames(shapes: Shapes): NameMap | null {
  const maps = dialects.flatMap(dialect => prefixesOf(dialect, shapes).map(prefix => applyDialect(dialect, prefix, shapes)));
  const best = maps.reduce<NameMap | null>((a, b) => (a && a.known >= b.known ? a : b), null);
  return best?.known ? best : null;
}

/** Where a dialect's anchors stand in the file; '' too, so that a file without them is told what it lacks. */
function prefixesOf({ anchors }: Dialect, shapes: Shapes): string[] {
  const found = [...shapes.keys()].flatMap(name => anchors.filter(anchor => name.endsWith(anchor)).map(anchor => name.slice(0, -anchor.length)));
  return [...new Set(['', ...found.filter(prefix => /[./]$/.test(prefix))])];
}

interface Part { index: number; name: string; layout: Layout; shape: readonly number[] }

function applyDialect(dialect: Dialect, prefix: string, shapes: Shapes): NameMap {
  const parts = new Map<string, Part[]>();
  const strangers = new Map<string, MappedTensor>();
  const leftOut: string[] = [];
  const refusals: { name: string; reason: string }[] = [];
  for (const [name, shape] of shapes) {
    const inner = name.startsWith(prefix) ? name.slice(prefix.length) : null;
    const match = inner === null ? null : matchRule(dialect.names, inner);
    const refused = inner === null ? undefined : dialect.refused.find(({ pattern }) => pattern.test(inner));
    if (refused) refusals.push({ name, reason: refused.reason });
    else if (match) add(parts, match.ours, { index: match.rule.part ?? 0, name, shape, layout: match.rule.layout ?? asIs });
    else if (inner === null || dialect.ignored.some(pattern => pattern.test(inner))) leftOut.push(name);
    else strangers.set(name, { shape, sources: [{ name, layout: asIs }] });
  }
  const tensors = new Map([...parts].map(([ours, list]) => [ours, join(list)]));
  const projection = projectionOf(dialect, shapes, { prefix, tensors });
  if (projection) tensors.set(projectionName, projection);
  return {
    dialect, prefix, refusals, leftOut: leftOut.filter(name => name !== projection?.sources[0]!.name),
    known: [...parts.values()].reduce((sum, list) => sum + list.length, 0),
    tensors: new Map([...tensors, ...strangers]),
    missingParts: missingParts(dialect, prefix, parts),
    theirName: ours => theirName(dialect, prefix, ours),
  };
}

function add(parts: Map<string, Part[]>, ours: string, part: Part): void {
  const list = parts.get(ours) ?? [];
  list.push(part);
  parts.set(ours, list.sort((a, b) => a.index - b.index));
}

/** Parts of unlike shape are not joined: whoever compares shapes then sees the difference. */
function join(list: readonly Part[]): MappedTensor {
  const shapes = list.map(({ layout, shape }) => layout.shape(shape));
  const [first, ...others] = shapes;
  const [rows, ...rest] = first!;
  const isAlike = others.every(other => other.slice(1).join() === rest.join());
  const total = shapes.reduce((sum, [side]) => sum + (side ?? 0), 0);
  const sources = list.map(({ name, layout }) => ({ name, layout }));
  return { shape: list.length === 1 || !isAlike || rows === undefined ? first! : [total, ...rest], sources };
}

/** CLIP's projection lies outside the tower in some files, and is a classifier's head where there is no CLIP tower. */
function projectionOf({ projection }: Dialect, shapes: Shapes, { prefix, tensors }: { prefix: string; tensors: ReadonlyMap<string, MappedTensor> }): MappedTensor | null {
  if (!projection || !tensors.has('norm_pre.weight')) return null;
  const outer = prefix.replace(/[^./]+[./]$/, '');
  const name = [prefix + projection.theirs, outer + projection.theirs].find(candidate => shapes.get(candidate)?.length === 2);
  const layout = projection.layout ?? asIs;
  return name === undefined ? null : { shape: layout.shape(shapes.get(name)!), sources: [{ name, layout }] };
}

/** By the file's names, for tensors of which it has some parts. */
function missingParts({ names }: Dialect, prefix: string, parts: ReadonlyMap<string, Part[]>): string[] {
  return [...parts].flatMap(([ours, list]) => rulesOf(names, ours)
    .filter(({ rule }) => rule.part !== undefined && !list.some(({ index }) => index === rule.part))
    .map(({ theirs }) => prefix + theirs));
}

/** The rules for one of our tensors, with what the file calls it. */
function rulesOf(names: readonly NameRule[], ours: string): { rule: NameRule; theirs: string }[] {
  const block = /^blocks\.(\d+)\./.exec(ours)?.[1] ?? '';
  const template = ours.replace(/^blocks\.\d+\./, 'blocks.{i}.');
  return names.filter(rule => rule.ours === template).map(rule => ({ rule, theirs: rule.theirs.replace('{i}', block) }));
}

function theirName({ names }: Dialect, prefix: string, ours: string): string {
  const rules = rulesOf(names, ours);
  const spoken = rules.filter(({ rule }, index) => rule.part !== undefined || index === 0);
  return spoken.map(({ theirs }) => prefix + theirs).join(' + ') || ours;
}

interface Match { rule: NameRule; ours: string }

function matchRule(rules: readonly NameRule[], name: string): Match | null {
  for (const rule of rules) {
    const block = patternOf(rule.theirs).exec(name);
    if (block) return { rule, ours: rule.ours.replace('{i}', String(Number(block[1] ?? 0))) };
  }
  return null;
}

const patterns = new Map<string, RegExp>();

function patternOf(theirs: string): RegExp {
  const known = patterns.get(theirs);
  if (known) return known;
  const source = theirs.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace('{chunk}', '\\d+').replace('{i}', '(\\d+)');
  const pattern = new RegExp(`^${source}$`);
  patterns.set(theirs, pattern);
  return pattern;
}

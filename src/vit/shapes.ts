/** What the tensor shapes of a backbone file say of its architecture, and whether they all fit it. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import { projectionName, type Shapes } from '../interop/dialects/dialect';
import { dialects, mapNames, type NameMap } from '../interop/dialects/map-names';
import { baseParameters } from './architecture';

export type ShapedArchitecture = Omit<Architecture, 'heads' | 'layerNormEpsilon' | 'activation'>;

/** Reads what shapes can say; UserError for another model than a plain ViT, naming the first keys that do not fit. */
export function architectureOfShapes(file: string, map: NameMap): ShapedArchitecture {
  refuseOtherModels(file, map);
  const shapes: Shapes = new Map([...map.tensors].filter(([name]) => name !== projectionName).map(([name, { shape }]) => [name, shape]));
  const problems = essential.map(({ name, rank }) => problemOf({ name, rank, shapes, map })).filter(p => p !== null);
  if (problems.length || map.missingParts.length) {
    throw mismatch(file, map, { ...noProblems, missing: [...problems, ...map.missingParts], unexpected: strangers(shapes) });
  }
  const architecture = inferred(file, shapes, map);
  const differences = compare(shapes, architecture, map);
  if (Object.values(differences).some(list => list.length)) throw mismatch(file, map, differences);
  return architecture;
}

/** The dialect of a file's names; UserError where none of them is a ViT's. */
export function findNames(file: string, shapes: Shapes): NameMap {
  const map = mapNames(shapes);
  if (map) return map;
  throw new UserError({
    what: `none of its tensors has a name of a Vision Transformer (it has ${[...shapes.keys()].slice(0, 3).join(', ') || 'no tensors'})`, where: file,
    remedy: `Known are the names of ${[...new Set(dialects.map(({ title }) => title))].join(', ')}.`,
  });
}

function refuseOtherModels(file: string, { refusals }: NameMap): void {
  const [first] = refusals;
  if (!first) return;
  throw new UserError({
    what: `this Vision Transformer has ${first.reason} (${first.name}), which PEFT Lab does not compute`, where: file,
    remedy: 'Use a plain one: class token, learned positions, softmax attention, an MLP of two layers.',
  });
}

const essential = [
  { name: 'cls_token', rank: 3 }, { name: 'pos_embed', rank: 3 }, { name: 'patch_embed.proj.weight', rank: 4 },
  { name: 'blocks.0.mlp.fc1.weight', rank: 2 },
];

function problemOf({ name, rank, shapes, map }: { name: string; rank: number; shapes: Shapes; map: NameMap }): string | null {
  const shape = shapes.get(name);
  if (!shape) return map.theirName(name);
  return shape.length === rank ? null : `${map.theirName(name)} (of ${rank} axes, here [${shape.join(', ')}])`;
}

function inferred(file: string, shapes: Shapes, map: NameMap): ShapedArchitecture {
  const [, , patch] = shapes.get('patch_embed.proj.weight')! as number[];
  const positions = shapes.get('pos_embed')![1]!;
  const side = Math.sqrt(positions - 1);
  if (!Number.isInteger(side) || side < 1) {
    throw new UserError({
      what: `${positions} positions are not a class token and a square grid of patches`, where: `${file} (tensor '${map.theirName('pos_embed')}')`,
      remedy: 'Use a ViT with one class token, no other extra tokens, and square images.',
    });
  }
  return {
    imageSize: side * patch!, patch: patch!, width: shapes.get('cls_token')![2]!, depth: blockCount(shapes),
    hidden: shapes.get('blocks.0.mlp.fc1.weight')![0]!,
    preNorm: shapes.has('norm_pre.weight'), patchBias: shapes.has('patch_embed.proj.bias'),
    layerScale: shapes.has('blocks.0.ls1.gamma'), qkvBias: shapes.has('blocks.0.attn.qkv.bias'),
  };
}

/** How many different indices there are: with a gap, the last block is unexpected and the gap is missing. */
function blockCount(shapes: Shapes): number {
  return new Set([...shapes.keys()].flatMap(name => /^blocks\.(\d+)\./.exec(name)?.[1] ?? [])).size;
}

interface Differences {
  missing: string[];
  unexpected: string[];
  wrongShape: string[];
}
const noProblems: Differences = { missing: [], unexpected: [], wrongShape: [] };

function compare(shapes: Shapes, architecture: ShapedArchitecture, { theirName }: NameMap): Differences {
  const unused = { heads: 1, layerNormEpsilon: 1, activation: 'gelu' } as const; // no shape depends on them
  const expected = new Map(baseParameters({ ...architecture, ...unused }).map(({ name, shape }) => [name, shape]));
  const common = [...expected].filter(([name]) => shapes.has(name));
  return {
    missing: [...expected.keys()].filter(name => !shapes.has(name)).map(theirName),
    unexpected: [...shapes.keys()].filter(name => !expected.has(name)).map(theirName),
    wrongShape: common.filter(([name, shape]) => shape.join() !== shapes.get(name)!.join())
      .map(([name, shape]) => `${theirName(name)} (needs [${shape.join(', ')}], has [${shapes.get(name)!.join(', ')}])`),
  };
}

/** Names that no ViT has. */
function strangers(shapes: Shapes): string[] {
  return [...shapes.keys()].filter(name => !/^(cls_token|pos_embed|patch_embed\.proj\.|norm(_pre)?\.|blocks\.\d+\.)/.test(name));
}

function mismatch(file: string, { dialect }: NameMap, { missing, unexpected, wrongShape }: Differences): UserError {
  const parts = [named('missing', missing), named('unexpected', unexpected), named('of wrong shape', wrongShape)].filter(Boolean);
  return new UserError({
    what: `the tensors are not those of a plain Vision Transformer; nearest are the names of ${dialect.title}: ${parts.join('; ')}`, where: file,
    remedy: 'Use a plain Vision Transformer, class token and learned positions included, saved by timm, transformers, CLIP, OpenCLIP or Google.',
  });
}

function named(kind: string, names: string[]): string {
  if (!names.length) return '';
  const rest = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `${kind} ${names.slice(0, 3).join(', ')}${rest}`;
}

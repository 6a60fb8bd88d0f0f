/** What the tensor shapes of a backbone file say of its architecture, and whether they all fit it. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import { baseParameters } from './architecture';

/** Shapes by timm name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

export type ShapedArchitecture = Omit<Architecture, 'heads' | 'layerNormEpsilon' | 'activation'>;

/** Reads what shapes can say; UserError naming the first keys missing, unexpected and of wrong shape. */
export function architectureOfShapes(file: string, shapes: Shapes): ShapedArchitecture {
  const kept = new Map([...shapes].filter(([name]) => !isIgnored(name)));
  const problems = essential.map(({ name, rank }) => problemOf(name, rank, kept)).filter(p => p !== null);
  if (problems.length) throw mismatch(file, { ...noProblems, missing: problems, unexpected: strangers(kept) });
  const architecture = inferred(file, kept);
  const differences = compare(kept, architecture);
  if (Object.values(differences).some(list => list.length)) throw mismatch(file, differences);
  return architecture;
}

/** A head is made anew for each data set; DINOv2's mask token takes no part in a forward pass. */
export function isIgnored(name: string): boolean {
  return name.startsWith('head.') || name.startsWith('pre_logits.') || name === 'mask_token';
}

const essential = [
  { name: 'cls_token', rank: 3 }, { name: 'pos_embed', rank: 3 }, { name: 'patch_embed.proj.weight', rank: 4 },
  { name: 'blocks.0.mlp.fc1.weight', rank: 2 },
];

function problemOf(name: string, rank: number, shapes: Shapes): string | null {
  const shape = shapes.get(name);
  if (!shape) return name;
  return shape.length === rank ? null : `${name} (of ${rank} axes, here [${shape.join(', ')}])`;
}

function inferred(file: string, shapes: Shapes): ShapedArchitecture {
  const [, , patch] = shapes.get('patch_embed.proj.weight')! as number[];
  const positions = shapes.get('pos_embed')![1]!;
  const side = Math.sqrt(positions - 1);
  if (!Number.isInteger(side) || side < 1) {
    throw new UserError({
      what: `${positions} positions are not a class token and a square grid of patches`, where: `${file} (tensor 'pos_embed')`,
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

function compare(shapes: Shapes, architecture: ShapedArchitecture): Differences {
  const unused = { heads: 1, layerNormEpsilon: 1, activation: 'gelu' } as const; // no shape depends on them
  const expected = new Map(baseParameters({ ...architecture, ...unused }).map(({ name, shape }) => [name, shape]));
  const common = [...expected].filter(([name]) => shapes.has(name));
  return {
    missing: [...expected.keys()].filter(name => !shapes.has(name)),
    unexpected: [...shapes.keys()].filter(name => !expected.has(name)),
    wrongShape: common.filter(([name, shape]) => shape.join() !== shapes.get(name)!.join())
      .map(([name, shape]) => `${name} (needs [${shape.join(', ')}], has [${shapes.get(name)!.join(', ')}])`),
  };
}

/** Names that no ViT has. */
function strangers(shapes: Shapes): string[] {
  return [...shapes.keys()].filter(name => !/^(cls_token|pos_embed|patch_embed\.proj\.|norm(_pre)?\.|blocks\.\d+\.)/.test(name));
}

function mismatch(file: string, { missing, unexpected, wrongShape }: Differences): UserError {
  const parts = [named('missing', missing), named('unexpected', unexpected), named('of wrong shape', wrongShape)].filter(Boolean);
  return new UserError({
    what: `the tensors are not those of a plain Vision Transformer with timm's names: ${parts.join('; ')}`, where: file,
    remedy: 'Export the backbone with timm (`safetensors.torch.save_file(model.state_dict(), file)`), class token and learned positions included.',
  });
}

function named(kind: string, names: string[]): string {
  if (!names.length) return '';
  const rest = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `${kind} ${names.slice(0, 3).join(', ')}${rest}`;
}

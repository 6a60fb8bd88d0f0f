/**
 * A dialect: how one library names the tensors of a plain Vision Transformer. Our own names are timm's; a dialect says
 * which of its tensors becomes which of ours, whole or as a part, and in what layout it lies in the file.
 */
import { channelNormalization } from '../../common/normalization';
import type { Architecture, ChannelNormalization } from '../../common/trial';
import { asIs, type Layout } from '../arrays';

export interface Dialect {
  id: string;
  /** For messages: "Hugging Face ViT". */
  title: string;
  /** Tensors that each of its files has; what stands before these names in a file is a wrapper's prefix. */
  anchors: readonly string[];
  names: readonly NameRule[];
  /** CLIP's projection, where the backbone is a CLIP tower (told by its LayerNorm before the blocks). */
  projection?: NameRule;
  /** What takes no part in a forward pass up to the features: heads, poolers, mask tokens. */
  ignored: readonly RegExp[];
  /** Tensors that make another model than a plain ViT, with what that is in words. */
  refused: readonly { pattern: RegExp; reason: string }[];
  /** What the names and shapes alone say, and what is assumed when nothing else does. */
  facts?(shapes: { ours: Shapes; theirs: Shapes }): { certain?: KnownFacts; assumed?: KnownFacts };
}

/** One tensor, or one per block where the names hold {i}. */
export interface NameRule {
  theirs: string;
  ours: string;
  /** Which part of ours along the first axis, where several of theirs make one. */
  part?: number;
  layout?: Layout;
}

/** Shapes by name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** What shapes cannot say of an architecture. */
export interface BackboneFacts {
  heads: number;
  layerNormEpsilon: number;
  activation: Architecture['activation'];
  normalization: ChannelNormalization;
}
export type KnownFacts = { [Key in keyof BackboneFacts]?: BackboneFacts[Key] | undefined };

/** CLIP's projection of the features into the space that texts share, [embedding, width]; used by text-embedding heads only. */
export const projectionName = 'projection.weight';

/** What a CLIP tower is taken for that says nothing of itself: one of OpenAI's; wider ones are OpenCLIP's, with 16 heads of 80 to 104. */
export function likelyClipFacts(ours: Shapes): KnownFacts {
  const width = ours.get('cls_token')?.at(-1) ?? 0;
  return { heads: width > 1024 ? 16 : width / 64, layerNormEpsilon: 1e-5, activation: 'quick-gelu', normalization: channelNormalization('clip') };
}

/** `.weight` and `.bias` of a layer. */
export function layer(theirs: string, ours: string, { part, weight = asIs }: { part?: number; weight?: Layout } = {}): NameRule[] {
  const shared = part === undefined ? {} : { part };
  return [
    { theirs: `${theirs}.weight`, ours: `${ours}.weight`, layout: weight, ...shared },
    { theirs: `${theirs}.bias`, ours: `${ours}.bias`, ...shared },
  ];
}

/** Separate query, key and value layers, in this order; timm keeps them as one. */
export function queryKeyValue(theirs: readonly string[]): NameRule[] {
  return theirs.flatMap((name, part) => layer(name, 'blocks.{i}.attn.qkv', { part }));
}

/**
 * Where a forward pass can be cut in two: what comes before a stage is computed once, what comes behind it at each step.
 * Stage 0 starts from patches; stage k, up to depth - 1, from the tokens that block k reads; stage `depth` from the class
 * tokens behind the last block; stage `depth + 1` from what the head reads. The embedded patches are no stage: they take
 * four bytes for each byte of the image and spare one product in fifty.
 */
import type { Architecture } from '../common/trial';
import { gridSide } from './architecture';

export interface StageShape {
  /** Of one image; in a batch row r of an image is row `r * batch + image`. */
  rows: number;
  columns: number;
}

/** What a program is given that starts at a stage. */
export function stageShape(architecture: Architecture, stage: number): StageShape {
  const { width, patch, depth } = architecture;
  const patches = gridSide(architecture) ** 2;
  if (stage === 0) return { rows: patches, columns: 3 * patch ** 2 };
  return { rows: stage < depth ? patches + 1 : 1, columns: width };
}

/** The name of what a stage starts from among the activations of vit/forward.ts; stage 1 and later. */
export function stageActivation(architecture: Pick<Architecture, 'depth'>, stage: number): string {
  const { depth } = architecture;
  if (stage < depth) return `blocks.${stage - 1}.output`;
  return stage === depth ? 'classTokens' : 'features';
}

/** What importers make and exporters take: an adapter in PEFT Lab's own names, and the backbone's shape where it is known. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import type { FloatTensor, FloatTensors } from './float-tensors';

export interface ExchangedAdapter {
  method: { id: string; options: Record<string, unknown> };
  /** As trained, the head's included, by PEFT Lab's names. */
  tensors: FloatTensors;
}

export interface BackboneAtHand {
  architecture: Architecture;
  /** The backbone's own tensor by timm name; null where no backbone is at hand. */
  base(name: string): FloatTensor | null;
}

/** Refuses with the reason; `remedy` is another way to the same end. */
export function cannotHold(what: string, remedy: string): UserError {
  return new UserError({ what, remedy });
}

export const mergeInstead = 'Export it with --format merged or --format onnx, which hold every method that folds, or with --format onnx --unmerged, which holds all.';

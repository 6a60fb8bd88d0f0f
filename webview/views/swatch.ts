import { methodVariable, variantDash } from '../charts/theme';
import { h } from '../dom';
import type { Tree } from '../dom';

/** The piece of line that stands for a trial in the charts. */
export function swatch(appearance: { colour: number; variant: number } | undefined): Tree {
  const { colour, variant } = appearance ?? { colour: 0, variant: 0 };
  return h('span', { 'class': 'swatch', 'aria-hidden': 'true', 'style': { 'border-top': `3px ${variantDash(variant)} ${methodVariable(colour)}` } });
}

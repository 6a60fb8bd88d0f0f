/** LayerNorm tuning between PEFT (LN_TUNING: whole new scales and shifts) and PEFT Lab's tensors, which are the same values. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import { type BackboneAtHand, type ExchangedAdapter, cannotHold } from './exchanged';
import type { FloatTensors } from './float-tensors';
import { type Dialect, placeName } from './module-names';
import type { PeftFolder, PeftForm } from './peft-folder';

/** LayerNorms that PEFT left alone keep the backbone's values, for which the backbone must be at hand. */
export function normsFromPeft({ modules, folder }: PeftFolder, { architecture, base }: BackboneAtHand): ExchangedAdapter {
  const given = new Map(modules.map(module => [module.path, module]));
  const known = normPaths(architecture);
  const stranger = modules.find(({ path }) => !known.includes(path));
  if (stranger) throw new UserError({ what: `'${stranger.name}' is no LayerNorm of this backbone`, where: folder, remedy: 'Name the backbone that the adapter was trained on with --backbone.' });
  const tensors: FloatTensors = {};
  for (const path of known) {
    for (const part of ['weight', 'bias']) {
      const found = given.get(path)?.tensors[part] ?? base(`${path}.${part}`);
      if (!found) {
        throw new UserError({ what: `it leaves ${path} as the backbone has it, and LayerNorm tuning here keeps all of them`, where: folder, remedy: 'Name the backbone with --backbone, so that the others can be taken from it.' });
      }
      tensors[`${path}.${part}`] = found;
    }
  }
  return { method: { id: 'ln', options: {} }, tensors };
}

export function normsToPeft({ tensors }: ExchangedAdapter, dialect: Dialect, { architecture }: BackboneAtHand): PeftForm {
  const modules = normPaths(architecture).map(path => {
    const name = placeName({ path, third: null }, dialect);
    if (name === null) throw cannotHold(`transformers' ViT has no LayerNorm '${path}'`, 'Export for timm: --dialect timm.');
    const own = Object.fromEntries(['weight', 'bias'].map(part => [`ln_tuning_layers.${part}`, tensors[`${path}.${part}`]!]));
    return { name, tensors: own };
  });
  return { config: {}, modules };
}

function normPaths({ depth, preNorm }: Architecture): string[] {
  return [
    ...preNorm ? ['norm_pre'] : [],
    ...Array.from({ length: depth }, (_, i) => [`blocks.${i}.norm1`, `blocks.${i}.norm2`]).flat(),
    'norm',
  ];
}

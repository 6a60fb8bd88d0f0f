import path from 'node:path';
import { UserError } from '../common/errors';
import { channelNormalization, normalizationNames } from '../common/normalization';
import { oneOf, required, wholeNumber } from './arguments';
import type { Command } from './command';
import { certifyEngine, openExchangeBackbone, readClassNames } from './exchange';

const usage = 'import DIR --out DIR [--backbone FILE] [--classes NAMES|FILE] [--image-size N] [--normalize none|imagenet|clip|0.5] [--json]';

export const importCommand: Command = {
  usage,
  summary: 'Make an adapter of one that another library wrote',
  details: 'DIR is what Hugging Face PEFT wrote (LoRA, rsLoRA, DoRA, (IA)^3, LayerNorm tuning; for timm\'s or transformers\' ViT), or a folder with\n' +
    'the study\'s config.json (study_params) and its tensors (init.safetensors where there are several files).\n' +
    'With the backbone, the adapter is tied to its weights and gets a parity certificate; without, its shape is guessed.',
  flags: {
    out: { value: 'DIR', help: 'where to write manifest.json and adapter.safetensors' },
    backbone: { value: 'FILE', help: 'the backbone that the adapter was trained on, or "demo"' },
    classes: { value: 'NAMES', help: 'class names in the order of the labels, separated by commas, or a file with one a line' },
    'image-size': { value: 'N', help: 'side of the images in pixels, where it is not the backbone\'s own' },
    normalize: { value: 'N', help: 'how images were normalised: none, imagenet, clip or 0.5' },
  },
  positionals: ['DIR'],
  async run({ flags, positionals, output }) {
    const out = path.resolve(required(flags, 'out', usage)), folder = path.resolve(positionals[0]!);
    if (out === folder) throw new UserError({ what: 'the adapter would be written over what it is made of', where: `--out ${out}`, remedy: 'Name another folder.' });
    const normalization = flags['normalize'] ? channelNormalization(oneOf('normalize', flags['normalize'], normalizationNames)) : undefined;
    const { importAdapter } = await import('../exchange/import');
    const imageSize = flags['image-size'] ? wholeNumber('image-size', flags['image-size']) : undefined;
    const backbone = flags['backbone'] ? await openExchangeBackbone(flags['backbone'], { adapter: null, imageSize, say: output.say }) : null;
    const { adapter: { manifest }, source, remarks } = await importAdapter({
      folder, out, backbone, normalization, classes: flags['classes'] ? await readClassNames(flags['classes']) : undefined, certify: certifyEngine,
    });
    for (const remark of remarks) output.say(remark);
    const { method, classes, certificate } = manifest;
    output.print(`${method.id} ${JSON.stringify(method.options)} from ${source}, ${classes.length} classes -> ${out}`);
    output.document({ out, source, method, classes, backbone: manifest.backbone, normalization: manifest.normalization, certificate, remarks });
    return 0;
  },
};

/** The README beside what was exported: how to load it in Python, and how images must be prepared. */
import type { Dialect } from '../interop/module-names';
import type { AdapterManifest } from '../peft/adapter';
import { timmAfterwards } from './model-config';

export interface LoadingTextOptions {
  form: 'peft' | 'merged';
  dialect: Dialect;
  manifest: AdapterManifest;
}

export function loadingText({ form, dialect, manifest }: LoadingTextOptions): string {
  const { method, backbone: { name, architecture }, classes, normalization: { mean, std }, resize } = manifest;
  const what = form === 'peft' ? `An adapter (${method.id}) for ${name}, as Hugging Face PEFT keeps it.` : `${name} with an adapter (${method.id}) folded in.`;
  return [
    `# ${form === 'peft' ? 'Adapter' : 'Model'}`, '',
    `${what} Written by PEFT Lab ${manifest.libraryVersion}.`, '',
    '```python', ...snippet({ form, dialect, manifest }), '```', '',
    `Images: RGB, ${resize === 'stretch' ? 'stretched' : 'resized and cropped to the centre'} to ${architecture.imageSize} x ${architecture.imageSize} (bicubic), divided by 255,`,
    `then less the mean [${mean.join(', ')}], divided by [${std.join(', ')}].`, '',
    `Classes, in the order of the outputs: ${classes.join(', ')}.`, '',
  ].join('\n');
}

function snippet({ form, dialect, manifest: { backbone: { architecture, name }, classes } }: LoadingTextOptions): string[] {
  const { imageSize, patch, width, depth, heads, hidden } = architecture;
  if (form === 'merged') {
    return dialect === 'timm'
      ? ['import timm, torch', 'model = timm.create_model("local-dir:PATH_OF_THIS_FOLDER", pretrained=True).eval()', ...timmAfterwards(architecture)?.split('\n') ?? []]
      : ['from transformers import ViTForImageClassification', 'model = ViTForImageClassification.from_pretrained("PATH_OF_THIS_FOLDER").eval()'];
  }
  const load = ['from peft import PeftModel', 'model = PeftModel.from_pretrained(model, "PATH_OF_THIS_FOLDER").eval()'];
  if (dialect === 'timm') {
    return [
      'import timm', `# ${name}: width ${width}, ${depth} blocks, ${heads} heads, hidden width ${hidden}, patches of ${patch}, images of ${imageSize}`,
      `model = timm.create_model("NAME_OF_THE_BACKBONE", pretrained=True, num_classes=${classes.length})`, ...load,
    ];
  }
  return [
    'from transformers import ViTForImageClassification', `# ${name}; ${dialect === 'hf' ? 'transformers 5 and later' : 'transformers 4'}`,
    `model = ViTForImageClassification.from_pretrained("NAME_OF_THE_BACKBONE", num_labels=${classes.length})`, ...load,
  ];
}

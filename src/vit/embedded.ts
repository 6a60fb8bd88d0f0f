import fs from 'node:fs';
import path from 'node:path';

/** The small ViT that comes with PEFT Lab: what a study means by the backbone file "demo". */
export function embeddedBackbone(): string {
  return mediaFile('backbone/drawn-vit.safetensors');
}

/** The study that `peft-lab demo` runs. */
export function demoStudy(): string {
  return mediaFile('demo/demo.peft.json');
}

/** Bundles lie in dist/, tests deeper in it and in the repository's root: media/ is above one of them. */
function mediaFile(name: string): string {
  const roots = [path.join(__dirname, '..'), path.join(__dirname, '../..'), path.join(__dirname, '../../..'), process.cwd()];
  const found = roots.map(root => path.join(root, 'media', name)).find(file => fs.existsSync(file));
  if (!found) throw new Error(`media/${name} is not where it was installed: looked above ${__dirname}`);
  return found;
}

/** Measures the certificate of an adapter that lies in a folder, without images of its own, and writes it into the manifest. */
import { normals, streamKey } from '../common/random';
import type { Engine, HostTensors } from '../engine/program';
import { loadAdapter, saveAdapter } from '../peft/adapter';
import { findMethod } from '../peft/registry';
import { certify } from '../train/certify';
import type { Backbone } from '../vit/weights';

/** The engine to measure with. */
export type CertifyWith = () => Promise<{ engine: Engine; threads: number }>;

const images = 4;

export interface SavedAdapter {
  folder: string;
  /** As they were before they were written. */
  tensors: HostTensors;
  backbone: Backbone;
}

export async function certifySaved({ folder, tensors, backbone }: SavedAdapter, choose: CertifyWith): Promise<void> {
  const { manifest, tensors: reloaded } = await loadAdapter(folder);
  const { architecture } = backbone;
  const model = { architecture, method: findMethod(manifest.method.id), options: manifest.method.options, classes: manifest.classes.length, batch: images };
  const values = (architecture.imageSize / architecture.patch) ** 2 * images * 3 * architecture.patch ** 2;
  const patches = Float32Array.from(normals(streamKey(0, 'certificate'), values));
  const certificate = await certify({ model, base: backbone.tensors, trained: tensors, reloaded, patches, images, imagesFrom: 'random noise', ...await choose() });
  await saveAdapter({ folder, manifest: { ...manifest, certificate }, tensors });
}

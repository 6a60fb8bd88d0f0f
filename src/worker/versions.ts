import { dependencies, version } from '../../package.json';

/** What computed, as an attempt records it. */
export const versions: Record<string, string> = {
  'peft-lab': version,
  node: process.versions.node,
  platform: `${process.platform}-${process.arch}`,
  'onnxruntime-node': dependencies['onnxruntime-node'],
  '@tensorflow/tfjs-core': dependencies['@tensorflow/tfjs-core'],
};

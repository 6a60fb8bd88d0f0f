import path from 'node:path';
import { argmax } from '../common/argmax';
import { engineChoices, engineIds, type EngineChoice } from '../common/engines';
import { UserError } from '../common/errors';
import { cacheFolder } from '../common/paths';
import { channelNormalization, normalizationNames } from '../common/normalization';
import type { ChannelNormalization, Sample } from '../common/trial';
import type { Batches } from '../data/batches';
import type { Adapter } from '../peft/adapter';
import type { Backbone } from '../vit/weights';
import { oneOf, required } from './arguments';
import type { Command } from './command';
import { openExchangeBackbone } from './exchange';
import { writePredictionFile, type PredictionFile } from './prediction-file';

const usage = 'predict --backbone FILE --adapter DIR --data DIR [--split S] [--normalize none|imagenet|clip|0.5] [--engine E] --out FILE.safetensors|FILE.csv [--json]';

export const predict: Command = {
  usage,
  summary: 'Classify images with a trained adapter',
  details: 'With --split, the images are those of the list DIR/S.txt (`path label` lines) or of the folder DIR/S, in that order;\nwithout, all images below DIR. A CSV holds path, class and probability; safetensors hold logits [n, classes] and labels.',
  flags: {
    backbone: { value: 'FILE', help: 'the file that the adapter was trained on (safetensors or npz), "demo", or hub:owner/name' },
    adapter: { value: 'DIR', help: 'an adapter folder, for instance <study>.peft/trials/<id>/adapter' },
    data: { value: 'DIR', help: 'folder with images' },
    split: { value: 'S', help: 'list or folder in it' },
    normalize: { value: 'N', help: 'other than what the adapter was trained with: none, imagenet, clip or 0.5' },
    engine: { value: 'E', help: `auto (when absent), ${engineIds.join(', ')}` },
    out: { value: 'FILE', help: 'where to write: .safetensors or .csv' },
  },
  positionals: [],
  async run({ flags, output }) {
    const request = {
      backbone: required(flags, 'backbone', usage), adapter: required(flags, 'adapter', usage), data: path.resolve(required(flags, 'data', usage)),
      split: flags['split'], out: path.resolve(required(flags, 'out', usage)),
      engine: oneOf('engine', flags['engine'] ?? 'auto', engineChoices),
      normalization: flags['normalize'] ? channelNormalization(oneOf('normalize', flags['normalize'], normalizationNames)) : null,
    };
    if (!/\.(safetensors|csv)$/i.test(request.out)) throw new UserError({ what: 'the name must end in .safetensors or .csv', where: `--out ${request.out}` });
    const predicted = await predictImages({ ...request, say: output.say });
    await writePredictionFile(request.out, predicted);
    const document = describe(predicted, request.out);
    output.print(`${document.images} images -> ${request.out}${document.top1 === null ? '' : `; top-1 ${(100 * document.top1).toFixed(2)} %`}`);
    output.document(document);
    return 0;
  },
};

interface PredictOptions {
  backbone: string;
  adapter: string;
  data: string;
  split: string | undefined;
  engine: EngineChoice;
  /** Null: as the adapter was trained. */
  normalization: ChannelNormalization | null;
  say(text: string): void;
}

const BATCH = 16;

async function predictImages({ say, ...request }: PredictOptions): Promise<PredictionFile> {
  const { checkBackbone, loadAdapter } = await import('../peft/adapter');
  const { openBatches } = await import('../data/batches');
  const adapter = await loadAdapter(request.adapter);
  const { manifest } = adapter;
  const backbone = await openExchangeBackbone(request.backbone, { adapter, say });
  const { imageSize, patch } = backbone.architecture;
  if (manifest.backbone.fingerprint === null) say('Warning: the adapter does not say which weights it was trained on; they cannot be checked.');
  checkBackbone(adapter, backbone);
  const batches = await openBatches({
    root: request.data, samples: await listImages(request, manifest.classes), imageSize, patch,
    normalization: request.normalization ?? manifest.normalization, resize: manifest.resize, augmentation: [],
    cacheFolder: cacheFolder(), onBadImage: 'stop', seed: 0,
  });
  try {
    const evaluated = await evaluateAdapter({ adapter, backbone, batches, engine: request.engine });
    return { ...evaluated, samples: batches.usable, classes: manifest.classes };
  } finally {
    await batches.close();
  }
}

async function listImages({ data, split }: Pick<PredictOptions, 'data' | 'split'>, classes: readonly string[]): Promise<Sample[]> {
  const { indexSplit, indexUnlabelled } = await import('../data/unlabelled');
  return split ? indexSplit({ root: data, split, classes }) : indexUnlabelled(data);
}

interface EvaluateOptions {
  adapter: Adapter;
  backbone: Backbone;
  batches: Batches;
  engine: PredictOptions['engine'];
}

async function evaluateAdapter({ adapter: { manifest, tensors }, backbone, batches, engine: asked }: EvaluateOptions) {
  const { chooseEngine, defaultThreads } = await import('../engine/choose');
  const { findMethod } = await import('../peft/registry');
  const { adapterTensors } = await import('../peft/trainable');
  const { evaluate } = await import('../train/evaluate');
  const { frozenTensors } = await import('../train/model');
  const { evaluationProgram } = await import('../train/program');
  const threads = defaultThreads();
  const { engine } = await chooseEngine({ asked, threads, architecture: backbone.architecture });
  const classes = manifest.classes.length;
  const model = { architecture: backbone.architecture, method: findMethod(manifest.method.id), options: manifest.method.options, classes, batch: BATCH };
  const session = await engine.open({
    programs: { evaluate: evaluationProgram(model) }, threads,
    state: tensors, constants: frozenTensors({ tensors: adapterTensors(model) }, backbone.tensors),
  });
  try {
    const evaluated = await evaluate({ session, model, batches, stopRequested: () => false });
    return { logits: evaluated!.logits, engine: engine.id };
  } finally {
    await session.dispose();
  }
}

function describe({ samples, logits, classes, engine }: PredictionFile, out: string) {
  const predicted = samples.map((_, i) => argmax(logits, i * classes.length, classes.length));
  const labelled = samples.filter(s => s.label >= 0).length;
  const right = samples.filter((s, i) => s.label === predicted[i]).length;
  return { out, images: samples.length, classes, engine, labelled, top1: labelled ? right / labelled : null };
}

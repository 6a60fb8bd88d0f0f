/** Batches for training and evaluation, made ahead by a thread of their own: the loop never waits for decoding. */
import fs from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { UserError } from '../common/errors';
import type { Sample } from '../common/trial';
import { stepsPerEpoch } from './batch-order';
import { receiveError, transferList, type BatchMessage, type FromLoader, type LoaderOptions, type MaskPlan, type RecordSource, type StreamPlan, type ToLoader } from './batch-protocol';

export interface BatchOptions extends LoaderOptions {
  /** Images decoded so far, of those not known yet or all. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Batches {
  /** The samples in their order, without those that were skipped. */
  usable: Sample[];
  skipped: { path: string; reason: string }[];
  /** sha256 of each usable sample's file. */
  contents: string[];
  stepsPerEpoch(batchSize: number, dropLast: boolean): number;
  training(plan: TrainingPlan): AsyncIterableIterator<Batch>;
  /** Every usable sample once, in order, without augmentation; or some of them, from their images in any case. */
  inOrder(plan: { batchSize: number; only?: readonly number[] }): AsyncIterableIterator<Batch>;
  /**
   * Takes records in place of images from now on. Resolves to the usable samples that have none, or a damaged one: if
   * there are any, nothing changes. Not while a stream is read.
   */
  readRecords(source: RecordSource): Promise<number[]>;
  /** Undoes readRecords. */
  readImages(): void;
  close(): Promise<void>;
}

export interface TrainingPlan {
  /** Steps count over all epochs. */
  firstStep: number;
  /** Exclusive. */
  lastStep: number;
  batchSize: number;
  shuffle: boolean;
  dropLast: boolean;
  masks: MaskPlan[];
}

/** `patches` and `masks` are valid until the next batch is asked for: their memory is then used again. */
export interface Batch {
  step: number;
  epoch: number;
  /** Real samples; the rest of the batch is padding, zeros. */
  count: number;
  /** [batchSize] into `usable`; -1 for padding. */
  indices: Int32Array;
  /** [batchSize]; -1 for padding. */
  labels: Int32Array;
  /** [tokens * batchSize, columns], token-major: 3 * patch * patch columns without the class token, see patchify.ts; or the records'. */
  patches: Float32Array;
  columns: number;
  /** By name, each of its plan's shape: 1 keeps, 0 drops. */
  masks: Record<string, Uint8Array>;
}

/** Decodes everything that the cache lacks, then resolves. A bad image rejects, or is skipped where the study says so. */
export async function openBatches({ onProgress, ...options }: BatchOptions): Promise<Batches> {
  if (!options.samples.length) throw new UserError({ what: 'there are no images to load', where: options.root, remedy: 'Name a split that has images.' });
  // sharp's libraries must be loaded by the main thread before any other, or they are unloaded with the first that ends.
  await import('sharp');
  const loader = startLoader(options);
  const { usable, skipped, contents } = await loader.prepare(onProgress);
  const samples = usable.map(i => options.samples[i]!);
  const steps = (batchSize: number, dropLast: boolean) => stepsPerEpoch({ samples: samples.length, batchSize, dropLast });
  return {
    usable: samples, skipped, contents, stepsPerEpoch: steps, readRecords: loader.readRecords, readImages: loader.readImages,
    training(plan) {
      if (!steps(plan.batchSize, plan.dropLast)) throw new UserError({ what: `${samples.length} images do not fill one batch of ${plan.batchSize}`, where: 'recipe.batchSize', remedy: 'Choose a smaller batch, or set "dropLast": false.' });
      return loader.stream({ ...plan, purpose: 'training' });
    },
    inOrder: ({ batchSize, only }) => loader.stream({
      purpose: 'evaluation', firstStep: 0, lastStep: stepsPerEpoch({ samples: only?.length ?? samples.length, batchSize, dropLast: false }),
      batchSize, shuffle: false, dropLast: false, masks: [], ...only && { only },
    }),
    close: () => loader.close(),
  };
}

interface Loader {
  prepare(onProgress: BatchOptions['onProgress']): Promise<{ usable: number[]; contents: string[]; skipped: Batches['skipped'] }>;
  readRecords(source: RecordSource): Promise<number[]>;
  readImages(): void;
  stream(plan: StreamPlan): AsyncIterableIterator<Batch>;
  close(): Promise<void>;
}

type Receive = (message: FromLoader | Error) => void;

function startLoader(options: LoaderOptions): Loader {
  const worker = new Worker(loaderScript(), { workerData: options });
  const receivers = new Map<number, Receive>();
  let ended: Error | undefined, streams = 0;
  const end = (error: Error) => {
    ended ??= error;
    for (const receive of receivers.values()) receive(ended);
  };
  worker.on('message', (message: FromLoader) => receivers.get(('stream' in message ? message.stream : undefined) ?? preparation)?.(message));
  worker.on('error', end);
  worker.on('exit', code => end(new Error(`the image loader's thread exited with code ${code}`)));
  const post = (message: ToLoader, transfer: ArrayBuffer[] = []) => { if (!ended) worker.postMessage(message, transfer); };
  // The thread keeps the process alive only while somebody waits for it.
  let waiting = 0;
  worker.unref();
  const wait = async (wake: (notify: () => void) => void) => {
    if (waiting++ === 0) worker.ref();
    await new Promise<void>(wake);
    if (--waiting === 0) worker.unref();
  };
  const listen = (id: number) => openQueue<FromLoader>(receive => {
    receivers.set(id, receive);
    if (ended) receive(ended);
  }, wait);

  return {
    async prepare(onProgress) {
      const queue = listen(preparation);
      try {
        for (;;) {
          const message = await queue();
          if (message.type === 'ready') return message;
          if (message.type === 'error') throw receiveError(message.error);
          if (message.type === 'progress') onProgress?.(message.done, message.total);
        }
      } catch (error) {
        await worker.terminate();
        throw error;
      } finally {
        receivers.delete(preparation);
      }
    },
    async readRecords(source) {
      const queue = listen(preparation);
      try {
        post({ type: 'records', source });
        const message = await queue();
        if (message.type === 'error') throw receiveError(message.error);
        return message.type === 'records' ? message.missing : [];
      } finally {
        receivers.delete(preparation);
      }
    },
    readImages: () => post({ type: 'images' }),
    async *stream(plan) {
      const id = ++streams, queue = listen(id);
      post({ type: 'start', stream: id, plan });
      try {
        for (;;) {
          const message = await queue();
          if (message.type === 'error') throw receiveError(message.error);
          if (message.type !== 'batch') return;
          yield message.batch;
          recycle(id, message.batch);
        }
      } finally {
        receivers.delete(id);
        post({ type: 'stop', stream: id });
      }
    },
    async close() {
      end(new Error('the image loader was closed'));
      await worker.terminate();
    },
  };

  function recycle(stream: number, { patches, masks }: BatchMessage): void {
    post({ type: 'recycle', stream, buffers: { patches, masks } }, transferList({ patches, masks }));
  }
}

/** Receives what belongs to no stream. */
const preparation = 0;

/** Messages in the order they came, one a call; an Error among them is thrown. */
function openQueue<Message>(connect: (receive: (message: Message | Error) => void) => void, wait: (wake: (notify: () => void) => void) => Promise<void>): () => Promise<Message> {
  const arrived: (Message | Error)[] = [];
  let notify: (() => void) | undefined;
  connect(message => {
    arrived.push(message);
    notify?.();
  });
  return async () => {
    while (!arrived.length) await wait(resolve => { notify = resolve; });
    const message = arrived.shift()!;
    if (message instanceof Error) throw message;
    return message;
  };
}

/** Beside the bundle that this is part of; in a test's bundle, in dist. */
function loaderScript(): string {
  const beside = path.join(__dirname, 'batch-loader.cjs');
  return fs.existsSync(beside) ? beside : path.join(process.cwd(), 'dist', 'batch-loader.cjs');
}

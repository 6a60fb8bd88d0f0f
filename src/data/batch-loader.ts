/**
 * The loader's thread: prepares the images, then makes batches ahead of the training loop, whose engine blocks its own
 * thread. Each stream has a few sets of buffers, which go to the loop full and come back empty; none free, it waits.
 * Sets outlive their stream, for the next of the same shape: tens of megabytes each, they are not left to the collector.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { drawMask, openOrder, type StepSamples } from './batch-order';
import { sendError, transferList, type BatchBuffers, type BatchMessage, type FromLoader, type LoaderOptions, type RecordSource, type StreamPlan, type ToLoader } from './batch-protocol';
import type { Pixels } from './decode';
import { openBufferPool, type BufferPool } from './buffer-pool';
import { openPatchifier, patchLength, type Patchifier } from './patchify';
import { prepareImages, type Prepared } from './prepare';
import { openRecords, type Records } from './records';
import { augment, fit } from './transforms';

/** One with the caller and the rest ahead of it; evaluations, of which several loaders have one, do with less memory. */
const bufferSets = { training: 3, evaluation: 2 };

interface Stream {
  /** Sets that it may still take. */
  open: number;
  /** Wakes the stream when a set of buffers came back or it is to stop. */
  wake?: (() => void) | undefined;
  stopped: boolean;
}

if (parentPort) void serve(parentPort, workerData as LoaderOptions);

async function serve(port: MessagePort, options: LoaderOptions): Promise<void> {
  const send = (message: FromLoader, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);
  try {
    const prepared = await prepareImages({ ...options, onProgress: throttle((done, total) => send({ type: 'progress', done, total })) });
    const streams = new Map<number, Stream>(), pool = openBufferPool();
    const contents = prepared.usable.map(i => prepared.contentOf(i));
    let records: Opened | undefined;
    port.on('message', (message: ToLoader) => {
      if (message.type === 'start') void runStream(message.stream, message.plan);
      else if (message.type === 'stop') stop(streams.get(message.stream));
      else if (message.type === 'images') records = undefined;
      else if (message.type === 'records') void readRecords(message.source);
      else giveBack(streams.get(message.stream), message.buffers, pool);
    });
    const readRecords = async (source: RecordSource) => {
      try {
        const opened = await openRecords(source, contents);
        if (opened.missing.length) await opened.records.close();
        else records = { ...opened.records, columns: source.columns };
        send({ type: 'records', missing: opened.missing });
      } catch (error) {
        send({ type: 'error', error: sendError(error) });
      }
    };
    const runStream = async (id: number, plan: StreamPlan) => {
      const stream: Stream = { open: bufferSets[plan.purpose], stopped: false };
      streams.set(id, stream);
      try {
        for await (const batch of makeBatches({ stream, pool, plan, options, prepared, records: plan.only ? undefined : records })) send({ type: 'batch', stream: id, batch }, transferList(batch));
        send({ type: 'end', stream: id });
      } catch (error) {
        send({ type: 'error', stream: id, error: sendError(error) });
      } finally {
        streams.delete(id);
      }
    };
    send({ type: 'ready', usable: prepared.usable, contents, skipped: prepared.skipped });
  } catch (error) {
    send({ type: 'error', error: sendError(error) });
  }
}

/** At most ten messages a second, and the last one. */
function throttle(report: (done: number, total: number) => void): (done: number, total: number) => void {
  let last = 0;
  return (done, total) => {
    if (done < total && Date.now() - last < 100) return;
    last = Date.now();
    report(done, total);
  };
}

function giveBack(stream: Stream | undefined, buffers: BatchBuffers, pool: BufferPool): void {
  pool.put(buffers);
  if (!stream) return;
  stream.open++;
  stream.wake?.();
}

function stop(stream: Stream | undefined): void {
  if (!stream) return;
  stream.stopped = true;
  stream.wake?.();
}

type Opened = Records & { columns: number };

interface MakeOptions {
  stream: Stream;
  pool: BufferPool;
  plan: StreamPlan;
  options: LoaderOptions;
  prepared: Prepared;
  /** Taken in place of images. */
  records: Opened | undefined;
}

async function* makeBatches({ stream, pool, plan, options, prepared, records }: MakeOptions): AsyncGenerator<BatchMessage> {
  const { only, batchSize: batch } = plan;
  const positions = openOrder({ ...plan, samples: only?.length ?? prepared.usable.length, seed: options.seed });
  const order = (step: number) => {
    const { epoch, indices } = positions(step);
    return { epoch, indices: only ? indices.map(i => only[i]!) : indices };
  };
  const patchifier = openPatchifier({ ...options, batch });
  const length = records ? records.length(batch) : patchLength({ ...options, batch });
  for (let step = plan.firstStep; step < plan.lastStep; step++) {
    if (!await isOpen(stream)) return;
    const buffers = pool.take(plan, length);
    const samples = order(step);
    if (records) fillRecords(samples, { records, batch, out: buffers.patches });
    else await fillPatches({ samples, patches: buffers.patches, patchifier, plan, options, prepared });
    for (const mask of plan.masks) drawMask(buffers.masks[mask.name]!, mask, { seed: options.seed, step });
    yield { ...buffers, ...describeSamples(samples, { plan, options, prepared }), step, columns: records?.columns ?? 3 * options.patch ** 2 };
  }
}

function fillRecords({ indices }: StepSamples, { records, batch, out }: { records: Records; batch: number; out: Float32Array }): void {
  for (let image = 0; image < batch; image++) {
    if (image < indices.length) records.put(indices[image]!, { image, batch }, out);
    else records.clear({ image, batch }, out);
  }
}

/** Waits until the stream may take a set of buffers; false: it is to stop. */
async function isOpen(stream: Stream): Promise<boolean> {
  while (!stream.stopped && !stream.open) await new Promise<void>(resolve => { stream.wake = resolve; });
  // Messages (a stop among them) are only heard between batches if the thread's loop turns.
  await new Promise(resolve => setImmediate(resolve));
  if (!stream.stopped) stream.open--;
  return !stream.stopped;
}

function describeSamples({ epoch, indices: real }: StepSamples, { plan, options, prepared }: Omit<MakeOptions, 'stream' | 'pool' | 'records'>) {
  const indices = new Int32Array(plan.batchSize).fill(-1), labels = new Int32Array(plan.batchSize).fill(-1);
  indices.set(real);
  real.forEach((index, i) => { labels[i] = options.samples[prepared.usable[index]!]!.label; });
  return { epoch, count: real.length, indices, labels };
}

interface FillOptions extends Omit<MakeOptions, 'stream' | 'pool' | 'records'> {
  samples: StepSamples;
  patches: Float32Array;
  patchifier: Patchifier;
}

/** How many files are decoded at once where the cache has none. */
const decodesAhead = 4;

async function fillPatches({ samples: { epoch, indices }, patches, patchifier, plan, options, prepared }: FillOptions): Promise<void> {
  const decoding = new Map<number, Promise<Pixels>>();
  for (let i = 0; i < plan.batchSize; i++) {
    if (i >= indices.length) {
      patchifier.clear(i, patches);
      continue;
    }
    const sample = prepared.usable[indices[i]!]!;
    const image = prepared.cached(sample) ?? await decodeAhead(i);
    patchifier.put(square(image, indices[i]!).data, i, patches);
  }

  /** Starts the next few as well: where one image is not in the cache, its neighbours seldom are. */
  async function decodeAhead(i: number): Promise<Pixels> {
    for (let j = i; j < Math.min(i + decodesAhead, indices.length); j++) {
      const sample = prepared.usable[indices[j]!]!;
      if (decoding.has(j) || (j > i && prepared.cached(sample))) continue;
      const started = prepared.decode(sample);
      started.catch(() => undefined); // thrown where it is awaited
      decoding.set(j, started);
    }
    const image = await decoding.get(i)!;
    decoding.delete(i);
    return image;
  }

  function square(image: Pixels, index: number): Pixels {
    const { imageSize, resize: mode, augmentation, seed } = options;
    if (!augmentation.length) return image;
    return plan.purpose === 'training' ? augment(image, { imageSize, mode, augmentation, seed, epoch, sample: index }) : fit(image, { imageSize, mode });
  }
}

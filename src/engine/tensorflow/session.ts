/**
 * A SavedModel in a session of TensorFlow, through the binding of tfjs-node: one call a program, state in its variables.
 * Calls block the event loop; tensors are the binding's own, by number.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TFJSBinding, TensorMetadata } from '@tensorflow/tfjs-node-gpu/dist/tfjs_binding';
import type { HostTensor, HostTensors } from '../program';
import { servingTag } from './model';
import type { WrittenModel, WrittenProgram, WrittenVariable } from './write';

export class SavedModelSession {
  private readonly id: number;
  private open = true;

  /** Loads the model; variables have no values until they are assigned. */
  constructor(private readonly binding: TFJSBinding, private readonly model: WrittenModel) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-model-'));
    try {
      fs.writeFileSync(path.join(folder, 'saved_model.pb'), model.bytes);
      this.id = binding.loadSavedModel(folder, servingTag);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  /** Feeds must have been checked: TensorFlow does not compare them with the placeholders. */
  call(name: string, feeds: HostTensors): HostTensors {
    const program = this.model.programs.get(name)!;
    return this.run(program.feeds.map(feed => ({ name: feed.placeholder, make: () => this.createFeed(feed, feeds[feed.name]!) })), program.fetches);
  }

  /** Of state and constants. */
  read(names: readonly string[]): HostTensors {
    const found = names.map(name => ({ name, output: this.find(name).value, shape: this.find(name).shape }));
    return inPortions(found, portion => this.run([], portion));
  }

  /** State and constants. Throws when a value has not its variable's shape. */
  write(values: HostTensors): void {
    const assigned = Object.entries(values).map(([name, value]) => ({ variable: this.find(name), value, shape: this.find(name).shape }));
    inPortions(assigned, portion => this.assign(portion));
  }

  dispose(): void {
    if (this.open) this.binding.deleteSavedModel(this.id);
    this.open = false;
  }

  private find(name: string): WrittenVariable {
    const variable = this.model.variables.get(name);
    if (!variable) throw new Error(`no state '${name}' in this session`);
    return variable;
  }

  private assign(portion: { variable: WrittenVariable; value: HostTensor }[]): HostTensors {
    const feeds = portion.map(({ variable, value }) => ({
      name: variable.placeholder, make: () => this.binding.createTensor([...variable.shape], this.binding.TF_FLOAT, value.data),
    }));
    return this.run(feeds, portion.map(({ variable }) => ({ name: null, output: variable.assigned, shape: [] })));
  }

  private run(feeds: { name: string; make(): number }[], fetches: WrittenProgram['fetches']): HostTensors {
    const made: number[] = [];
    try {
      for (const { make } of feeds) made.push(make());
      const results = this.binding.runSavedModel(this.id, made, feeds.map(({ name }) => name).join(), fetches.map(({ output }) => output).join());
      return this.take(results, fetches);
    } finally {
      for (const id of made) this.binding.deleteTensor(id);
    }
  }

  private take(results: TensorMetadata[], fetches: WrittenProgram['fetches']): HostTensors {
    try {
      return Object.fromEntries(fetches.flatMap(({ name, shape }, i) =>
        (name === null ? [] : [[name, { shape, data: this.binding.tensorDataSync(results[i]!.id) as Float32Array }]])));
    } finally {
      for (const { id } of results) this.binding.deleteTensor(id);
    }
  }

  private createFeed({ shape, dtype }: WrittenProgram['feeds'][number], { data }: HostTensor): number {
    if (dtype === 'bool') return this.binding.createTensor([...shape], this.binding.TF_BOOL, data);
    return this.binding.createTensor([...shape], this.binding.TF_INT32, new Int32Array(data.buffer, data.byteOffset, data.length));
  }
}

/** Elements that are read or assigned in one run: each of them is held twice meanwhile. */
const largestPortion = 16 * 2 ** 20;

function inPortions<T extends { shape: readonly number[] }>(items: readonly T[], run: (portion: T[]) => HostTensors): HostTensors {
  const results: HostTensors = {};
  let portion: T[] = [], size = 0;
  const flush = () => {
    if (portion.length) Object.assign(results, run(portion));
    [portion, size] = [[], 0];
  };
  for (const item of items) {
    const elements = item.shape.reduce((a, b) => a * b, 1);
    if (size + elements > largestPortion) flush();
    portion.push(item);
    size += elements;
  }
  flush();
  return results;
}

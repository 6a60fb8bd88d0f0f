/** What an installation would fetch, how large it is, and where it would lie; nothing is changed. */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { fileSize } from '../common/format';
import { installedRuntimes, runtimesFolder, type Runtime, type RuntimeKind } from '../common/runtimes';
import { requireSpace, thisPlatform, type Platform } from './platform';
import { openPythonIndex, type PythonIndex, type Wheel } from './python-index';
import { findRecipe, type Recipe, type RecipeOptions } from './recipes';
import { listRemoteZip } from './remote-zip';
import { resolveWheels } from './resolve';

export interface RuntimePlan {
  recipe: Recipe;
  machine: Platform;
  wheels: Wheel[];
  /** Still to fetch. */
  downloadBytes: number;
  /** On disk when it is done. */
  unpackedBytes: number;
  /** Where it will lie. */
  folder: string;
  /** Where it is put together; what an interrupted installation left lies there. */
  staging: string;
  /** The same runtime, where it is installed already. */
  installed: Runtime | null;
  remarks: string[];
  /** What is missing here, in words; an installation would stop with it. */
  problems: string[];
}

export interface PlanOptions extends Omit<RecipeOptions, 'machine'> {
  machine?: Platform;
  index?: PythonIndex;
  signal?: AbortSignal | undefined;
}

export async function planRuntime({ kind, gpu, version, machine = thisPlatform(), index = openPythonIndex(), signal }: PlanOptions): Promise<RuntimePlan> {
  const recipe = await findRecipe({ kind, gpu, version, machine });
  const name = `${kind}-${recipe.version}-${machine.platform}-${machine.arch}${recipe.gpu ? '-gpu' : ''}`;
  const folder = path.join(runtimesFolder(), name), staging = path.join(runtimesFolder(), `.install-${name}`);
  const same = (runtime: Runtime) => runtime.kind === kind && runtime.version === recipe.version && runtime.gpu === recipe.gpu;
  const installed = installedRuntimes().find(same) ?? null;
  // What is there needs no network.
  const wheels = installed || !recipe.wheels ? [] : await resolveWheels({ index, machine, ...recipe.wheels, signal });
  const missing = wheels.filter(wheel => !isUnpacked(staging, wheel));
  const unpacked = sum(await Promise.all(wheels.map(wheel => unpackedBytes(wheel, recipe, signal))));
  const plan: RuntimePlan = {
    recipe, machine, wheels, folder, staging, installed,
    downloadBytes: sum(missing.map(wheel => Math.max(0, wheel.bytes - fetchedBytes(staging, wheel)))),
    unpackedBytes: recipe.keepsWheels ? unpacked : moduleBytes,
    remarks: await recipe.remarks(), problems: [],
  };
  const room = missing.length > 0 ? unpacked + Math.max(...missing.map(wheel => wheel.bytes)) : 0;
  return installed ? plan : { ...plan, problems: await problems(plan, room) };
}

/** Marks left in the staging folder say which wheels are unpacked. */
export function unpackedMark(staging: string, wheel: Wheel): string {
  return path.join(staging, 'unpacked', wheel.sha256);
}

export function wheelPath(staging: string, wheel: Wheel): string {
  return path.join(staging, 'wheels', wheel.filename.replace(/[^\w.+-]/g, '_'));
}

function isUnpacked(staging: string, wheel: Wheel): boolean {
  return fs.existsSync(unpackedMark(staging, wheel));
}

function fetchedBytes(staging: string, wheel: Wheel): number {
  const file = wheelPath(staging, wheel);
  return [file, `${file}.part`].reduce((bytes, name) => bytes || (fs.statSync(name, { throwIfNoEntry: false })?.size ?? 0), 0);
}

/** Wheels shrink to about a third of this; used where a server does not let one look into them. */
const usualGrowth = 3;

/** About what a runtime takes whose wheels are removed again. */
const moduleBytes = 1e6;

async function unpackedBytes(wheel: Wheel, recipe: Recipe, signal?: AbortSignal): Promise<number> {
  try {
    const entries = await listRemoteZip(wheel.url, { bytes: wheel.bytes, signal });
    return sum(entries.filter(entry => recipe.keep(entry.name)).map(entry => entry.bytes));
  } catch {
    signal?.throwIfAborted();
    return wheel.bytes * usualGrowth;
  }
}

async function problems({ recipe, staging }: RuntimePlan, room: number): Promise<string[]> {
  const parent = existingParent(staging);
  const checks = [() => recipe.require(), () => room > 0 ? requireSpace(parent, room) : Promise.resolve(), () => requireWritable(parent)];
  const found: string[] = [];
  for (const check of checks) {
    await check().catch((error: unknown) => {
      if (!(error instanceof UserError)) throw error;
      found.push(error.message);
    });
  }
  return found;
}

async function requireWritable(folder: string): Promise<void> {
  await fs.promises.access(folder, fs.constants.W_OK).catch((cause: unknown) => {
    throw new UserError({ what: 'this folder cannot be written', where: folder, remedy: 'Name another folder in the variable PEFT_LAB_DATA.', cause });
  });
}

function existingParent(folder: string): string {
  return fs.existsSync(folder) ? folder : existingParent(path.dirname(folder));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** `TensorFlow 2.21.0 with CUDA`, as people call it. */
export function runtimeTitle({ kind, version, gpu }: Pick<Runtime, 'kind' | 'version' | 'gpu'>): string {
  return `${titles[kind]} ${version}${gpu ? ' with CUDA' : ''}`;
}

const titles: Record<RuntimeKind, string> = { tensorflow: 'TensorFlow', cuda: 'ONNX Runtime', kernels: 'Kernels' };

/** What a dry run prints. */
export function describePlan({ recipe, wheels, downloadBytes, unpackedBytes, folder, installed, remarks, problems: found }: RuntimePlan): string {
  if (installed) return `${runtimeTitle(recipe)} is installed already, in ${installed.folder}.`;
  return [
    `${runtimeTitle(recipe)}: ${downloadBytes > 0 ? fileSize(downloadBytes) : 'nothing'} to download, ${fileSize(unpackedBytes)} on disk, in ${folder}`,
    ...wheels.map(wheel => `  ${wheel.name} ${wheel.version}  ${fileSize(wheel.bytes)}  ${new URL(wheel.url).host}`),
    ...remarks, ...found.map(text => `Missing: ${text}`),
  ].join('\n');
}

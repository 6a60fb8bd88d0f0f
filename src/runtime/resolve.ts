/** Which wheels an installation needs: one package at a fixed version, what its extras ask for, and what these need in turn. */
import { UserError } from '../common/errors';
import { describePlatform, wantedGlibc, wheelFits, type Platform } from './platform';
import type { PythonIndex, Wheel } from './python-index';
import { comparePython, isPreRelease, requirements, satisfies, type Requirement } from './versions';

export interface ResolveOptions {
  index: PythonIndex;
  machine: Platform;
  name: string;
  version: string;
  /** Extras of the package whose requirements are wanted too; what the package needs for Python never is. */
  extras: readonly string[];
  signal?: AbortSignal | undefined;
}

const ROUNDS = 20;

/** The package's wheel first. A UserError when there is none for this machine. */
export async function resolveWheels({ index, machine, name, version, extras, signal }: ResolveOptions): Promise<Wheel[]> {
  const root = await exactWheel({ index, machine, name, version, signal });
  const lines = extras.length > 0 ? await index.requires(root, signal) : [];
  const asked = extras.flatMap(extra => requirements(lines, extra));
  let chosen = new Map<string, Wheel>();
  // What is chosen may ask for more, and may narrow what was chosen before.
  for (let round = 0; round < ROUNDS; round++) {
    const wanted = [...asked, ...(await Promise.all([...chosen.values()].map(async wheel => requirements(await index.requires(wheel, signal), null)))).flat()];
    const next = new Map<string, Wheel>();
    for (const [dependency, specifier] of merged(wanted)) next.set(dependency, await newestWheel({ index, machine, name: dependency, specifier, signal }));
    if (sameWheels(chosen, next)) return [root, ...next.values()];
    chosen = next;
  }
  throw new UserError({ what: `the requirements of ${name} ${version} contradict each other`, remedy: 'Ask for another --version.' });
}

/** One specifier a package: all that was asked of it. */
function merged(wanted: readonly Requirement[]): Map<string, string> {
  const specifiers = new Map<string, string[]>();
  for (const { name, specifier } of wanted) specifiers.set(name, [...specifiers.get(name) ?? [], ...specifier ? [specifier] : []]);
  return new Map([...specifiers].map(([name, all]) => [name, [...new Set(all)].join(',')]));
}

function sameWheels(a: ReadonlyMap<string, Wheel>, b: ReadonlyMap<string, Wheel>): boolean {
  return a.size === b.size && [...a].every(([name, wheel]) => b.get(name)?.url === wheel.url);
}

type Wanted = Pick<ResolveOptions, 'index' | 'machine' | 'name' | 'signal'>;

async function exactWheel({ index, machine, name, version, signal }: Wanted & { version: string }): Promise<Wheel> {
  const all = await index.wheels(name, signal);
  const wheels = all.get(version);
  if (!wheels || wheels.length === 0) {
    const known = [...all.keys()].filter(one => !isPreRelease(one) && all.get(one)!.some(wheel => wheelFits(wheel.filename, machine))).sort(comparePython).slice(-5);
    throw new UserError({ what: `the package index has no wheels of ${name} ${version}`, where: '--version', remedy: known.length > 0 ? `Versions for this machine: ${known.join(', ')}.` : undefined });
  }
  return fitting(wheels, machine) ?? refuse(wheels, machine);
}

async function newestWheel({ index, machine, name, specifier, signal }: Wanted & { specifier: string }): Promise<Wheel> {
  const all = await index.wheels(name, signal);
  const versions = [...all.keys()].filter(version => !isPreRelease(version) && satisfies(version, specifier)).sort(comparePython).reverse();
  for (const version of versions) {
    const wheel = fitting(all.get(version)!, machine);
    if (wheel) return wheel;
  }
  throw new UserError({ what: `the package index has no wheel of ${name}${specifier && ` (${specifier})`} for ${describePlatform(machine)}` });
}

/** The smallest that fits: wheels for several versions of Python hold the same libraries. */
function fitting(wheels: readonly Wheel[], machine: Platform): Wheel | null {
  return wheels.filter(wheel => wheelFits(wheel.filename, machine)).sort((a, b) => a.bytes - b.bytes || a.filename.localeCompare(b.filename))[0] ?? null;
}

/** Says why none of a package's wheels fits: the C library where only that is too old, the platform otherwise. */
function refuse(wheels: readonly Wheel[], machine: Platform): never {
  const [{ name, version } = { name: '', version: '' }] = wheels;
  const modern = { ...machine, glibc: '99.0', macos: machine.macos === null ? null : 99 };
  const almost = wheels.find(wheel => wheelFits(wheel.filename, modern));
  if (!almost) {
    throw new UserError({ what: `there is no ${name} ${version} for ${describePlatform(machine)}`, remedy: 'The engines graph and wasm work here without it; see peft-lab doctor.' });
  }
  const needed = wantedGlibc(/-([^-]+)\.whl$/.exec(almost.filename)![1]!.split('.')[0]!);
  throw new UserError({
    what: `${name} ${version} needs ${needed ? `glibc ${needed} or newer` : 'a newer system'}, and this is ${describePlatform(machine)}`,
    remedy: needed && machine.glibc === null ? 'It needs a Linux with the GNU C library, not musl (Alpine).' : 'Use a newer system or container; older ones cannot load it. The engines graph and wasm work here without it.',
  });
}

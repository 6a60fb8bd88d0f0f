/** Versions of Python packages, as far as requirements of wheels need them: PEP 440 without epochs and local versions. */
import { UserError } from '../common/errors';

/** `12.9.86`, `2.22.0rc0`: release numbers, and a rank below 0 for what came before the release. */
interface Version {
  release: number[];
  /** Final 0; pre-releases below, post-releases above. */
  stage: number;
}

const pattern = /^v?(\d+(?:\.\d+)*)(?:[-_.]?(a|b|rc|alpha|beta|c|pre|preview)[-_.]?(\d*))?(?:[-_.]?(post|rev|r)[-_.]?(\d*))?(?:[-_.]?(dev)[-_.]?(\d*))?$/i;

/** Null where the text is no version. */
function parse(text: string): Version | null {
  const match = pattern.exec(text.trim());
  if (!match) return null;
  const [, release, pre, preNumber, post, postNumber, dev, devNumber] = match;
  const preStage = pre ? preStages[pre[0]!.toLowerCase()]! + 1e-4 * Number(preNumber || 0) : 0;
  const postStage = post ? 1 + Number(postNumber || 0) : 0;
  const devStage = dev ? (pre || post ? -1e-5 : -9) + 1e-9 * Number(devNumber || 0) : 0;
  return { release: release!.split('.').map(Number), stage: preStage + postStage + devStage };
}

const preStages: Record<string, number> = { a: -4, b: -3, r: -2, c: -2, p: -2 };

/** Below 0 where `a` is older. What is no version is oldest. */
export function comparePython(a: string, b: string): number {
  const [left, right] = [parse(a), parse(b)];
  if (!left || !right) return Number(Boolean(left)) - Number(Boolean(right));
  return compareReleases(left.release, right.release) || left.stage - right.stage;
}

export function isPreRelease(version: string): boolean {
  const parsed = parse(version);
  return !parsed || parsed.stage < 0;
}

/** Whether `version` is in all of `>=12.5,<13`; the empty specifier takes every version. */
export function satisfies(version: string, specifier: string): boolean {
  return specifier.split(',').map(part => part.trim()).filter(Boolean).every(part => satisfiesOne(version, part));
}

function satisfiesOne(version: string, part: string): boolean {
  const match = /^(===|==|!=|~=|>=|<=|>|<)\s*(\S+)$/.exec(part);
  if (!match) throw new UserError({ what: `"${part}" is no version requirement that PEFT Lab understands`, remedy: 'Report it with the package\'s name.' });
  const [, operator, wanted] = match as unknown as [string, string, string];
  if (wanted.endsWith('.*')) return startsWith(version, wanted.slice(0, -2)) === (operator === '==');
  const order = comparePython(version, wanted);
  switch (operator) {
    case '==': case '===': return order === 0;
    case '!=': return order !== 0;
    case '>=': return order >= 0;
    case '<=': return order <= 0;
    case '>': return order > 0;
    case '<': return order < 0 && !(isPreRelease(version) && startsWith(version, wanted));
    default: return order >= 0 && startsWith(version, wanted.split('.').slice(0, -1).join('.')); // ~=: compatible release
  }
}

function startsWith(version: string, prefix: string): boolean {
  const [left, right] = [parse(version)?.release ?? [], parse(prefix)?.release ?? []];
  return right.every((number, i) => (left[i] ?? 0) === number);
}

function compareReleases(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export interface Requirement {
  name: string;
  specifier: string;
}

/** `nvidia-nccl-cu12<3.0,>=2.27.7; extra == "and-cuda"`: what an extra of a package adds (without one: what it always needs). */
export function requirements(lines: readonly string[], extra: string | null): Requirement[] {
  return lines.flatMap(line => {
    const [text, marker = ''] = line.split(';').map(part => part.trim()) as [string, string | undefined];
    const named = /extra\s*==\s*["']([^"']+)["']/.exec(marker)?.[1] ?? null;
    // Markers beside the extra ask for a Python or system that wheels of ours do not depend on: nvidia's have none.
    if (named !== extra || (extra === null && marker !== '')) return [];
    const match = /^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([^)]*)\)?$/.exec(text);
    return match ? [{ name: normalized(match[1]!), specifier: match[2]!.trim() }] : [];
  });
}

/** Names of Python packages are equal up to case and separators. */
export function normalized(name: string): string {
  return name.replace(/[-_.]+/g, '-').toLowerCase();
}

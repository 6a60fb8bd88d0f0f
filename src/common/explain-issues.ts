/** What zod finds, in words that a study's author can act on. */
import { z } from 'zod';
import { nearest } from './nearest';

export type IssuePath = (string | number)[];

export interface Explanation {
  path: IssuePath;
  /** The key of the object at `path` that the problem is about, where it is about the key and not a value. */
  key?: string;
  message: string;
  remedy: string | null;
}

type Issue = z.core.$ZodIssue;

/** `value` is what was parsed, `schema` what it was parsed with. */
export function explainIssues(issues: readonly Issue[], schema: z.ZodType, value: unknown): Explanation[] {
  return issues.flatMap(issue => explain(issue, [], { schema, value }));
}

/** `methods[0].options.rank`. */
export function pathText(path: IssuePath): string {
  return path.reduce<string>((text, part) => typeof part === 'number' ? `${text}[${part}]` : `${text}${text && '.'}${part}`, '');
}

interface Root { schema: z.ZodType; value: unknown }

function explain(issue: Issue, base: IssuePath, root: Root): Explanation[] {
  const path = [...base, ...issue.path.map(part => typeof part === 'symbol' ? String(part) : part)];
  const at = (message: string, remedy: string | null = null): Explanation[] => [{ path, message, remedy }];
  switch (issue.code) {
    case 'unrecognized_keys': return issue.keys.map(key => unknownKey(key, path, root));
    case 'invalid_union': return explainUnion(issue, path, root);
    case 'invalid_type': return explainType(issue.expected, path, root);
    case 'invalid_value': return explainValue(issue.values.map(String), path, root);
    case 'too_small': return at(issue.origin === 'array' || issue.origin === 'string'
      ? `needs at least ${issue.minimum} ${issue.origin === 'array' ? 'entries' : 'characters'}`
      : `must be ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}, and is ${show(valueAt(root.value, path))}`);
    case 'too_big': return at(issue.origin === 'array' || issue.origin === 'string'
      ? `takes at most ${issue.maximum} ${issue.origin === 'array' ? 'entries' : 'characters'}`
      : `must be ${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}, and is ${show(valueAt(root.value, path))}`);
    default: return at(issue.message);
  }
}

function unknownKey(key: string, path: IssuePath, root: Root): Explanation {
  const known = knownKeys(root.schema, path, root.value);
  const near = nearest(key, known);
  const where = path.length ? pathText(path) : 'this';
  const all = known.length ? `Known here: ${known.join(', ')}.` : `${where} takes nothing.`;
  return { path, key, message: `unknown key "${key}"${near ? `; did you mean "${near}"?` : ''}`, remedy: all };
}

function explainType(expected: string, path: IssuePath, root: Root): Explanation[] {
  const value = valueAt(root.value, path);
  const description = describe(root.schema, path, root.value);
  if (value === undefined) {
    const key = path.at(-1);
    return [{ path: path.slice(0, -1), message: `"${String(key)}" is missing`, remedy: description && `${String(key)}: ${description}` }];
  }
  return [{ path, message: `must be ${typeName(expected)}, and is ${show(value)}`, remedy: description }];
}

function explainValue(values: string[], path: IssuePath, root: Root): Explanation[] {
  const value = valueAt(root.value, path);
  if (value === undefined) return explainType(values.map(v => `"${v}"`).join(' or '), path, root);
  const near = typeof value === 'string' ? nearest(value, values) : null;
  const list = values.map(v => `"${v}"`).join(', ');
  return [{ path, message: `${show(value)} is not allowed${near ? `; did you mean "${near}"?` : ''}`, remedy: `Allowed: ${list}.` }];
}

/** Tells about the branch that the author meant: the one whose outermost type fits what is written. */
function explainUnion(issue: z.core.$ZodIssueInvalidUnion, path: IssuePath, root: Root): Explanation[] {
  const value = valueAt(root.value, path);
  if (value === undefined) return explainType('', path, root);
  if ('discriminator' in issue && issue.discriminator) {
    return explainValue((issue as { options?: unknown[] }).options?.map(String) ?? [], path, root);
  }
  const meant = issue.errors.filter(branch => !branch.some(inner => isOfOtherType(inner, value)));
  const branch = meant.sort((a, b) => strangeness(a, value) - strangeness(b, value))[0];
  if (branch) return branch.flatMap(inner => explain(inner, path, root));
  const allowed = [...new Set(issue.errors.flat().filter(i => i.path.length === 0).flatMap(expectation))];
  return [{ path, message: `must be ${allowed.join(' or ')}, and is ${show(value)}`, remedy: describe(root.schema, path, root.value) }];
}

/** A branch that misses a key is hardly the one that was meant; otherwise the one with the fewest issues is. */
function strangeness(issues: readonly Issue[], value: unknown): number {
  const misses = (issue: Issue) => issue.code !== 'unrecognized_keys' && issue.path.length > 0 && valueAt(value, issue.path.map(String)) === undefined;
  return issues.reduce((sum, issue) => sum + (misses(issue) ? 10 : 1), 0);
}

function isOfOtherType(issue: Issue, value: unknown): boolean {
  if (issue.path.length) return false;
  if (issue.code === 'invalid_type') return !(typeof value === 'number' && issue.expected === 'int');
  return issue.code === 'invalid_value' && typeof value !== typeof issue.values[0];
}

function expectation(issue: Issue): string[] {
  if (issue.code === 'invalid_type') return [typeName(issue.expected)];
  if (issue.code === 'invalid_value') return issue.values.map(v => `"${String(v)}"`);
  return issue.code === 'invalid_union' ? issue.errors.flat().filter(i => i.path.length === 0).flatMap(expectation) : [];
}

const typeNames: Record<string, string> = {
  int: 'a whole number', number: 'a number', string: 'a text', boolean: 'true or false', array: 'a list [...]',
  tuple: 'a list [...]', object: 'an object {...}', null: 'null',
};

function typeName(expected: string): string {
  return typeNames[expected] ?? expected;
}

function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  return JSON.stringify(value);
}

function valueAt(value: unknown, path: IssuePath): unknown {
  return path.reduce<unknown>((inner, part) => typeof inner === 'object' && inner !== null && Object.hasOwn(inner, part)
    ? (inner as Record<string | number, unknown>)[part] : undefined, value);
}

/** Keys that the objects at `path` may have. */
function knownKeys(schema: z.ZodType, path: IssuePath, value: unknown): string[] {
  const shapes = schemasAt(schema, path, value).filter(s => s instanceof z.ZodObject).map(s => s.shape);
  return [...new Set(shapes.flatMap(shape => Object.keys(shape)))].filter(key => key !== '$schema');
}

function describe(schema: z.ZodType, path: IssuePath, value: unknown): string | null {
  const parents = schemasAt(schema, path.slice(0, -1), value);
  const descriptions = parents.flatMap(parent => parent instanceof z.ZodObject ? [descriptionOf(parent.shape[path.at(-1)!] as z.ZodType | undefined)] : []);
  return descriptions.find(text => text !== undefined) ?? null;
}

/** A description stands on the schema or on what a default wraps. */
function descriptionOf(schema: z.ZodType | undefined): string | undefined {
  return schema?.description ?? (schema ? unwrap(schema).find(inner => inner.description)?.description : undefined);
}

/** All schemas that what stands at `path` could have been meant for. */
function schemasAt(schema: z.ZodType, path: IssuePath, value: unknown): z.ZodType[] {
  const candidates = unwrap(schema).filter(s => fits(s, value));
  const [part, ...rest] = path;
  if (part === undefined) return candidates;
  return candidates.flatMap(candidate => {
    const inner = candidate instanceof z.ZodObject ? candidate.shape[part] : candidate instanceof z.ZodArray ? candidate.element : undefined;
    return inner ? schemasAt(inner as z.ZodType, rest, valueAt(value, [part])) : [];
  });
}

/** Without its wrappers; each member of a union. */
function unwrap(schema: z.ZodType): z.ZodType[] {
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(option => unwrap(option as z.ZodType));
  if (schema instanceof z.ZodPipe) return unwrap(schema.in as z.ZodType);
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) {
    return unwrap(schema.unwrap() as z.ZodType);
  }
  return [schema];
}

/** Whether the literals of an object schema (a method's id) are those of the value. */
function fits(schema: z.ZodType, value: unknown): boolean {
  if (!(schema instanceof z.ZodObject)) return true;
  return Object.entries(schema.shape).every(([key, inner]) => !(inner instanceof z.ZodLiteral) || inner.values.has(valueAt(value, [key]) as string));
}

/** What a study file can get wrong that its schema cannot say: ranges and things that go together. */
import { z } from 'zod';
import { isCombined, partIds, refusalOf } from './combination';
import type { Explanation, IssuePath } from './explain-issues';
import { recipeSchema, type MethodEntry, type MethodOptionSchema, type SearchRange, type Study } from './study';

/** `written` is the file's own value, which tells in which of its forms an entry stands. */
export function checkStudy(study: Study, methods: readonly MethodOptionSchema[], written: unknown): Explanation[] {
  return [
    ...study.methods.flatMap((entry, index) => [
      ...isCombined(entry.method) ? checkCombination(entry, methods, partsPath(written, index))
        : checkRanges(entry.options, optionSchemas(methods, entry.method), ['methods', index, 'options']),
      ...checkRanges(entry.recipe ?? {}, recipeSchema.shape, ['methods', index, 'recipe']),
    ]),
    ...checkRanges(study.recipe, recipeSchema.shape, ['recipe']),
    ...checkBackbone(study),
    ...checkNames(study),
  ];
}

function checkBackbone({ backbone: { file, hub } }: Study): Explanation[] {
  const remedy = 'Give "file" for a file of this machine, or "hub" for a repository of the Hugging Face hub.';
  if (file === undefined && hub === undefined) return [{ path: ['backbone'], message: '"file" or "hub" is missing', remedy }];
  return file !== undefined && hub !== undefined ? [{ path: ['backbone', 'hub'], message: '"file" and "hub" exclude each other', remedy }] : [];
}

/** Where the list of an entry's methods stands: the entry itself, or its key `methods`. */
function partsPath(written: unknown, index: number): IssuePath {
  const entries = (written as { methods?: unknown[] } | null)?.methods;
  return Array.isArray(entries?.[index]) ? ['methods', index] : ['methods', index, 'methods'];
}

function checkCombination({ method, options }: MethodEntry, methods: readonly MethodOptionSchema[], path: IssuePath): Explanation[] {
  const ids = partIds(method);
  const refusal = refusalOf(ids.map(id => methods.find(m => m.id === id) ?? { id, title: id }));
  if (refusal) return [{ path, ...refusal }];
  return ids.flatMap((id, part) => checkRanges(options[id] as object, optionSchemas(methods, id), [...path, part, 'options']));
}

function optionSchemas(methods: readonly MethodOptionSchema[], id: string): Record<string, unknown> {
  return methods.find(m => m.id === id)?.options.shape ?? {};
}

export function isSearchRange(value: unknown): value is SearchRange {
  return typeof value === 'object' && value !== null && 'search' in value;
}

/** Every value that a range can yield must be one that the key takes. */
function checkRanges(values: object, schemas: Record<string, unknown>, path: IssuePath): Explanation[] {
  return Object.entries(values).flatMap(([key, value]) => isSearchRange(value)
    ? checkRange(value, schemas[key] as z.ZodType | undefined, [...path, key, 'search']) : []);
}

function checkRange({ search }: SearchRange, schema: z.ZodType | undefined, path: IssuePath): Explanation[] {
  if (Array.isArray(search)) return search.flatMap((value, index) => checkValue(value, schema, [...path, index]));
  const { min, max, scale, integer } = search;
  if (min >= max) return [{ path: [...path, 'max'], message: `max is ${max} and not above min, ${min}`, remedy: 'Give min < max.' }];
  if (scale === 'log' && min <= 0) return [{ path: [...path, 'min'], message: 'a log scale starts above 0', remedy: 'Raise min, or use the linear scale.' }];
  if (!integer && schema && accepts(schema, 1) && !accepts(schema, 1.5)) {
    return [{ path, message: 'only whole numbers are allowed', remedy: 'Add "integer": true to the interval.' }];
  }
  return [...checkValue(min, schema, [...path, 'min']), ...checkValue(max, schema, [...path, 'max'])];
}

function checkValue(value: unknown, schema: z.ZodType | undefined, path: IssuePath): Explanation[] {
  const result = schema && withoutRanges(schema).safeParse(value);
  if (!result || result.success) return [];
  return [{ path, message: `${JSON.stringify(value)} is not allowed here`, remedy: firstMessage(result.error) }];
}

function accepts(schema: z.ZodType, value: unknown): boolean {
  return withoutRanges(schema).safeParse(value).success;
}

/** What a value itself must be: a searchable key is a union of that and a range. */
function withoutRanges(schema: z.ZodType): z.ZodType {
  const inner = schema instanceof z.ZodDefault ? schema.unwrap() as z.ZodType : schema;
  return inner instanceof z.ZodUnion ? inner.options[0] as z.ZodType : inner;
}

function firstMessage(error: z.ZodError): string | null {
  return error.issues[0] ? `${error.issues[0].message}.` : null;
}

/** Tables tell data sets and methods apart by their names. */
function checkNames(study: Study): Explanation[] {
  return [
    ...duplicates(study.data.map(d => d.name)).map(i => duplicate(['data', i, 'name'])),
    ...duplicates(study.methods.map(m => m.name)).map(i => duplicate(['methods', i, 'name'])),
    ...duplicates(study.evaluation.extra.map(e => e.name)).map(i => duplicate(['evaluation', 'extra', i, 'name'])),
  ];
}

function duplicate(path: IssuePath): Explanation {
  return { path, message: 'another one has this name', remedy: 'Give each its own name.' };
}

/** Indices of values that stood before. */
function duplicates(values: readonly (string | undefined)[]): number[] {
  return values.flatMap((value, index) => value !== undefined && values.indexOf(value) < index ? [index] : []);
}

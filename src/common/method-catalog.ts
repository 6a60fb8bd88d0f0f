/**
 * Ids, titles and options of the methods without their mathematics: for the extension, which must not load tensors.
 * media/methods.json is written by tools/generate.mjs from src/methods.
 */
import { z } from 'zod';
import catalog from '../../media/methods.json';
import type { MethodOptionSchema } from './study';

let methods: MethodOptionSchema[] | undefined;

export function methodCatalog(): MethodOptionSchema[] {
  return methods ??= catalog.map(({ options, ...rest }) => {
    const schema = z.fromJSONSchema(options as Parameters<typeof z.fromJSONSchema>[0]);
    if (!(schema instanceof z.ZodObject)) throw new Error(`the options of ${rest.id} are no object`);
    return { ...rest, options: z.strictObject(Object.fromEntries(Object.entries(schema.shape).map(withDefault))) };
  });
}

/** fromJSONSchema makes every option without `required` optional, which would hide its default. */
function withDefault([name, option]: [string, unknown]): [string, z.ZodType] {
  const inner = option instanceof z.ZodOptional ? option.unwrap() as z.ZodType : null;
  return [name, inner instanceof z.ZodDefault ? inner : option as z.ZodType];
}

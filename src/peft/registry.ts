/** Every method by its id, which is its file name in src/methods. */
import methodTable from 'methods:all';
import { isCombined, partIds } from '../common/combination';
import { UserError } from '../common/errors';
import type { MethodOptionSchema } from '../common/study';
import { combinable, combineMethods } from './combine';
import type { Method } from './method';

export const methods: Readonly<Record<string, Method>> = methodTable;

/** A method, or several trained together by their ids joined by "+". Throws a UserError that lists the ids there are. */
export function findMethod(id: string): Method {
  if (!isCombined(id)) return findSingle(id);
  if (!combinations.has(id)) combinations.set(id, combineMethods(partIds(id).map(part => ({ id: part, method: findSingle(part) }))));
  return combinations.get(id)!;
}

const combinations = new Map<string, Method>();

function findSingle(id: string): Method {
  const method = Object.hasOwn(methods, id) ? methods[id] : undefined;
  if (method) return method;
  throw new UserError({ what: `there is no method '${id}'`, remedy: `Use one of ${Object.keys(methods).join(', ')}.` });
}

/** What the study schema needs to know of the methods; see common/study.ts. */
export function methodOptionSchemas(): MethodOptionSchema[] {
  return Object.entries(methods).map(([id, method]) => {
    const { title, summary, suggested = false, options } = method;
    const { claims, trainsEverything } = combinable({ id, method });
    return { id, title, summary, suggested, options, claims, trainsEverything };
  });
}

/** Options with their defaults; throws a UserError that names the option. */
export function parseMethodOptions(id: string, options: unknown): Record<string, unknown> {
  const parsed = findMethod(id).options.safeParse(options);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UserError({
    what: issue?.message ?? 'the options are not valid',
    where: ['options', ...issue?.path ?? []].join('.'),
    remedy: `Options of ${id}: ${Object.keys(findMethod(id).options.shape).join(', ') || 'none'}.`,
  });
}

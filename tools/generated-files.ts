/** Contents of the generated files; see generate.mjs. */
import fs from 'node:fs';
import { z } from 'zod';
import { studySchema, type MethodOptionSchema } from '../src/common/study';
import { methodOptionSchemas, methods as methodsById } from '../src/peft/registry';
import { methodPages, methodTable } from './method-pages';

/** By path in the repository. */
export function generatedFiles(methods: readonly MethodOptionSchema[] = methodOptionSchemas()): Record<string, string> {
  return {
    'media/study.schema.json': `${JSON.stringify(studyJsonSchema(methods), null, 2)}\n`,
    'media/methods.json': `${JSON.stringify(methods.map(catalogEntry), null, 2)}\n`,
    ...methodPages(methodsById),
    'README.md': withTable(fs.readFileSync('README.md', 'utf8').replaceAll('\r\n', '\n'), methodTable(methodsById)),
  };
}

/** The text with the table of methods between its two marks. */
function withTable(text: string, table: string): string {
  const [start, end] = ['<!-- methods: made by npm run generate -->', '<!-- /methods -->'];
  const [before, after] = [text.indexOf(start), text.indexOf(end)];
  if (before < 0 || after < before) throw new Error(`README.md has no place for the table of methods between ${start} and ${end}`);
  return `${text.slice(0, before + start.length)}\n\n${table}\n\n${text.slice(after)}`;
}

/** What editors complete and check with: draft 7, the newest that VS Code knows whole. */
function studyJsonSchema(methods: readonly MethodOptionSchema[]): object {
  const schema = z.toJSONSchema(studySchema(methods), { io: 'input', target: 'draft-7', reused: 'ref', override: ({ jsonSchema }) => tidy(jsonSchema) });
  return { ...schema, title: 'PEFT Lab study', allowComments: true, allowTrailingCommas: true };
}

function catalogEntry({ id, title, summary, suggested, options, claims = [], trainsEverything = false }: MethodOptionSchema): object {
  const { $schema: _, ...schema } = z.toJSONSchema(options, { io: 'input', override: ({ jsonSchema }) => tidy(jsonSchema) });
  return { id, title, summary, suggested, claims, trainsEverything, options: schema };
}

/** zod's bounds of safe integers say nothing to a reader. `search` is a method's proposed grid: shown as examples. */
function tidy(schema: z.core.JSONSchema.BaseSchema): void {
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
  if (Array.isArray(schema['search'])) {
    schema.examples = schema['search'];
    delete schema['search'];
  }
}

/** The text of a new study file: a small study that runs as it is, with comments that teach the format. Pure. */

import type { z } from 'zod';
import { refusalOf } from '../common/combination';
import type { MethodOptionSchema } from '../common/study';

export interface NewStudy {
  name: string;
  backbone: NewBackbone;
  /** Folder or CSV file, as the study file will say it. */
  images: string;
  methods: readonly { id: string; summary: string }[];
  /** Every method there is: the examples are of some of them. */
  catalog: readonly MethodOptionSchema[];
}

/** As the study file will say it: "demo" or a path, or owner/name on the hub. */
export type NewBackbone = { file: string } | { hub: string };

export function studyTemplate({ name, backbone, images, methods, catalog }: NewStudy): string {
  const { method, option, values, partner } = example(catalog);
  const one = `{ "method": "${method}", "options": { "${option}": ${values.at(-1)!} } }`;
  return `// ${name}: which parameter-efficient fine-tuning method suits these images?
// "Run" above starts the study, here or on a terminal: peft-lab run ${name}.peft.json
// Ctrl+Space offers the keys and values of the place you are at; hovering over a key explains it.
{
  // The Vision Transformer that all methods start from: a safetensors file of timm, Hugging Face or CLIP, Google's npz,
  // or a repository of the Hugging Face hub, { "hub": "timm/deit_tiny_patch16_224.fb_in1k" }.
  // "demo" is the small one that comes with PEFT Lab: good for trying things out, not for results.
  "backbone": ${JSON.stringify(backbone, null, 1).replaceAll(/\n */g, ' ')},

  // Folders of images (one folder a class, with or without train/, val/ and test/), VTAB-1K lists or a CSV file.
  // Splits that are missing are drawn by seed, stratified by class; see "holdOut".
  "data": [
    { "path": ${JSON.stringify(images)} },
  ],

  // What to compare. A name alone takes the method's defaults; options are given like this:
  //   ${one}
  // and an option that should be searched lists its values, which makes a trial of each:
  //   { "method": "${method}", "options": { "${option}": { "search": [${values.join(', ')}] } } }
  // A list of methods is trained together:
  //   ["${partner}", ${one}]
  "methods": [
${methodLines(methods)}
  ],

  // How every method is trained. Any of these can be a { "search": [...] } too, or be set for one method:
  //   { "method": "${partner}", "recipe": { "learningRate": 0.003 } }
  "recipe": {
    "epochs": 20,
    "warmupEpochs": 2,
    "batchSize": 32,
    "learningRate": 0.001,
    "weightDecay": 0.0001,
    "seeds": [42], // more seeds show how much of a difference is chance
  },

  // The fastest engine of this machine that computes the right gradients; "PEFT Lab: Doctor" shows which.
  "engine": "auto",
}
`;
}

interface Example {
  method: string;
  /** One of its options that is a number, and values worth trying. */
  option: string;
  values: number[];
  /** A method that it can be trained together with. */
  partner: string;
}

/** From the methods that are suggested, the first that has something to search and one to go with it. */
function example(catalog: readonly MethodOptionSchema[]): Example {
  const suggested = catalog.filter(method => method.suggested && !method.claims?.length && !method.trainsEverything);
  for (const method of suggested) {
    for (const [option, schema] of Object.entries(method.options.shape)) {
      const values = valuesToTry(schema as z.ZodType);
      const partner = suggested.find(other => !refusalOf([method, other]));
      if (values.length > 1 && partner) return { method: method.id, option, values, partner: partner.id };
    }
  }
  throw new Error('no suggested method has a number to search');
}

function valuesToTry(schema: z.ZodType): number[] {
  const { examples = [] } = schema.meta() as { examples?: unknown[] } | undefined ?? {};
  return examples.filter(value => typeof value === 'number');
}

function methodLines(methods: NewStudy['methods']): string {
  const width = Math.max(0, ...methods.map(({ id }) => id.length));
  return methods.map(({ id, summary }) => `    ${`"${id}",`.padEnd(width + 3)} // ${summary}`).join('\n');
}

/** The text of a new study file: a small study that runs as it is, with comments that teach the format. Pure. */

export interface NewStudy {
  name: string;
  /** "demo", `hub:owner/name`, or a path as the study file will say it. */
  backbone: string;
  /** Folder or CSV file, as the study file will say it. */
  images: string;
  methods: readonly { id: string; summary: string }[];
}

export function studyTemplate({ name, backbone, images, methods }: NewStudy): string {
  return `// ${name}: which parameter-efficient fine-tuning method suits these images?
// "Run" above starts the study, here or on a terminal: peft-lab run ${name}.peft.json
// Ctrl+Space offers the keys and values of the place you are at; hovering over a key explains it.
{
  // The Vision Transformer that all methods start from: a safetensors file of timm, Hugging Face or CLIP, Google's npz,
  // or a repository of the Hugging Face hub, { "hub": "timm/deit_tiny_patch16_224.fb_in1k" }.
  // "demo" is the small one that comes with PEFT Lab: good for trying things out, not for results.
  "backbone": { ${backbone.startsWith('hub:') ? `"hub": ${JSON.stringify(backbone.slice('hub:'.length))}` : `"file": ${JSON.stringify(backbone)}`} },

  // Folders of images (one folder a class, with or without train/, val/ and test/), VTAB-1K lists or a CSV file.
  // Splits that are missing are drawn by seed, stratified by class; see "holdOut".
  "data": [
    { "path": ${JSON.stringify(images)} },
  ],

  // What to compare. A name alone takes the method's defaults; options are given like this:
  //   { "method": "lora", "options": { "rank": 16 } }
  // and an option that should be searched lists its values, which makes a trial of each:
  //   { "method": "lora", "options": { "rank": { "search": [2, 8, 32] } } }
  // A list of methods is trained together:
  //   ["ssf", { "method": "lora", "options": { "rank": 4 } }]
  "methods": [
${methodLines(methods)}
  ],

  // How every method is trained. Any of these can be a { "search": [...] } too, or be set for one method:
  //   { "method": "bitfit", "recipe": { "learningRate": 0.003 } }
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

function methodLines(methods: NewStudy['methods']): string {
  const width = Math.max(0, ...methods.map(({ id }) => id.length));
  return methods.map(({ id, summary }) => `    ${`"${id}",`.padEnd(width + 3)} // ${summary}`).join('\n');
}

/** What stands behind a study: its backbone, its data sets, its methods; and the trials that follow. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { cacheFolder } from '../common/paths';
import type { StudyFacts } from '../common/resolve';
import type { Study } from '../common/study';
import type { IndexedDataSet } from '../data/data-set';
import { planTrials, type Plan } from '../search/plan';
import { atMostEvery } from './at-most-every';
import { findBackbone } from './backbone';
import type { LoadedStudy } from './load-study';

export interface PreparedStudy extends Plan {
  dataSets: IndexedDataSet[];
  facts: StudyFacts;
  warnings: string[];
}

/** Heavy: reads every image of the data sets once, to know their contents; remembers them in the cache folder. */
export async function prepareStudy(loaded: LoadedStudy, onProgress: (text: string) => void): Promise<PreparedStudy> {
  const facts = await findFacts(loaded, onProgress);
  const dataSets: IndexedDataSet[] = [];
  for (const spec of loaded.study.data) dataSets.push(await withTextEmbeddings(await indexOne(loaded, spec, onProgress), { spec, loaded, backbone: facts.backbone.file }));
  checkNames(dataSets);
  return {
    dataSets, facts,
    warnings: dataSets.flatMap(d => d.warnings),
    ...planTrials({ study: loaded.study, facts, dataSets: dataSets.map(d => d.dataSet) }),
  };
}

async function findFacts({ study, name, folder }: LoadedStudy, onProgress: (text: string) => void): Promise<StudyFacts> {
  const { readArchitecture, fingerprintBackbone } = await import('../vit/weights');
  const { countParameters } = await import('../peft/count');
  const { findMethod, methods } = await import('../peft/registry');
  const { recipeVersion } = await import('../train/recipe-version');
  const { file: _, hub: __, name: given, ...overrides } = study.backbone;
  const { file, name: ownName, warnings: found } = await findBackbone(study.backbone, { folder, onProgress: atMostEvery(100, onProgress) });
  const { architecture, normalization, warnings } = await readArchitecture(file, overrides);
  return {
    study: name, recipeVersion,
    methods: { ...methods, ...Object.fromEntries(study.methods.map(entry => [entry.method, findMethod(entry.method)])) },
    backbone: { name: given ?? ownName, file, fingerprint: await fingerprintBackbone(file), architecture, warnings: [...found, ...warnings], normalization },
    init: study.recipe.init === undefined ? null : fingerprintAdapter(path.resolve(folder, study.recipe.init)),
    count: ({ method, options, classes, projection }) => countParameters({ architecture: { ...architecture, projection }, method: findMethod(method), options, classes }),
  };
}

async function indexOne({ study, folder }: LoadedStudy, spec: Study['data'][number], onProgress: (text: string) => void): Promise<IndexedDataSet> {
  const { indexDataSet } = await import('../data/data-set');
  return indexDataSet(spec, {
    folder, cacheFolder: cacheFolder(), extra: study.evaluation.extra,
    onProgress: atMostEvery(100, (done, total) => onProgress(`Reading ${spec.name ?? spec.path}: ${done} of ${total} images`)),
  });
}

/** Looks at the class embeddings that a data set's head starts from: they must fit its classes and the backbone. */
async function withTextEmbeddings(indexed: IndexedDataSet, { spec, loaded, backbone }: { spec: Study['data'][number]; loaded: LoadedStudy; backbone: string }): Promise<IndexedDataSet> {
  if (spec.textEmbeddings === undefined) return indexed;
  const { readTextEmbeddings } = await import('../peft/text-head');
  const { fingerprintFile } = await import('../interop/fingerprint-file');
  const { readProjection } = await import('../vit/weights');
  const file = path.resolve(loaded.folder, spec.textEmbeddings), width = (await readProjection(backbone)).shape[0]!;
  const { warnings } = await readTextEmbeddings({ file, classes: indexed.dataSet.classes, width });
  return {
    ...indexed, warnings: [...indexed.warnings, ...warnings],
    dataSet: { ...indexed.dataSet, textEmbeddings: { file, fingerprint: await fingerprintFile(file), width } },
  };
}

function fingerprintAdapter(folder: string): { folder: string; fingerprint: string } {
  const hash = createHash('sha256');
  for (const file of ['manifest.json', 'adapter.safetensors'].map(f => path.join(folder, f))) {
    if (!fs.existsSync(file)) throw new UserError({ what: 'this is no adapter folder', where: folder, remedy: `Correct "recipe.init": it needs ${path.basename(file)} in it, as trials/<id>/adapter has.` });
    hash.update(fs.readFileSync(file));
  }
  return { folder, fingerprint: hash.digest('hex') };
}

/** Names left to the folders' may coincide. */
function checkNames(dataSets: readonly IndexedDataSet[]): void {
  const names = dataSets.map(d => d.dataSet.name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw new UserError({ what: `two data sets are called "${twice}"`, where: 'data', remedy: 'Give each a "name" of its own.' });
}

import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { formatProblem, parseStudy } from '../common/parse-study';
import type { Study } from '../common/study';
import { storeFolder, storeFolderFromText, studyName } from '../store/paths';

export interface LoadedStudy {
  study: Study;
  name: string;
  /** Absolute. */
  file: string;
  /** Absolute; what paths in the study are relative to. */
  folder: string;
  store: string;
}

/** Reads and checks a study file; a UserError lists everything that is wrong with it as file:line:column. */
export async function loadStudy(file: string): Promise<LoadedStudy> {
  const { methodOptionSchemas } = await import('../peft/registry');
  const { study, problems } = parseStudy(readText(file), methodOptionSchemas());
  if (problems) throw new UserError({ what: `the study file has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}\n${problems.map(p => formatProblem(file, p)).join('\n')}` });
  const absolute = path.resolve(file);
  return { study, name: study.name ?? studyName(absolute), file: absolute, folder: path.dirname(absolute), store: storeFolder(absolute, study.output) };
}

/** The store of a study file, or of a store folder itself. Where a study file is broken, its store can still be read. */
export function findStore(studyOrStore: string): string {
  if (fs.existsSync(path.join(studyOrStore, 'study.json'))) return path.resolve(studyOrStore);
  return storeFolderFromText(studyOrStore, readText(studyOrStore));
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    const isFolder = fs.existsSync(file) && fs.statSync(file).isDirectory();
    throw new UserError({ what: isFolder ? 'this is a folder' : 'there is no such file', where: file, remedy: 'Name a study file, *.peft.json.', cause });
  }
}

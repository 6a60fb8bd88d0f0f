import path from 'node:path';
import type { Sharp } from 'sharp';
import { pictureKey } from '../common/panel-messages';
import { bestPerMethod, rankTrials } from '../common/ranking';
import type { Snapshot } from '../common/snapshot';
import { mapConcurrently } from '../data/concurrency';

/** Enough to see what kind of picture goes wrong, and about a megabyte. */
const pictureLimit = 300;
/** Of them for single trials; the rest is for the pairs. */
const trialPictures = 200;
const side = 96;

export interface ReportPicture {
  dataSet: string;
  path: string;
}

/** Small JPEG data URIs by `pictureKey` for the mistakes that the page lists first. Files that cannot be read are left out. */
export async function reportPictures(snapshot: Snapshot): Promise<Record<string, string>> {
  const roots = new Map(snapshot.dataSets.map(d => [d.name, d.root]));
  const wanted = listedPictures(snapshot).flatMap(picture => {
    const root = roots.get(picture.dataSet);
    return root === undefined ? [] : [{ ...picture, file: path.join(root, picture.path) }];
  });
  const shrink = wanted.length ? await pictureShrinker() : null;
  if (!shrink) return {};
  // Four at a time: decoding has threads of its own.
  const pictures = await mapConcurrently(wanted, 4, async ({ dataSet, path: name, file }) => [pictureKey(dataSet, name), await shrink(file)] as const);
  return Object.fromEntries(pictures.filter((entry): entry is [string, string] => entry[1] !== null));
}

/** The pictures to carry, most looked at first: the trials' surest mistakes in turn, then those of the methods' pairs. */
export function listedPictures(snapshot: Snapshot, limit = pictureLimit): ReportPicture[] {
  const dataSetOf = new Map(snapshot.trials.map(t => [t.id, t.dataSet]));
  const trials = rankTrials(snapshot.trials.filter(t => t.confusion));
  const best = new Set(bestPerMethod(trials).map(t => t.id));
  const ofTrials = inTurn(trials.map(t => t.confusion!.mistakes.map(m => ({ dataSet: t.dataSet, path: m.path }))));
  const ofPairs = inTurn(snapshot.overlaps.filter(o => best.has(o.a) && best.has(o.b)).flatMap(o =>
    [o.examples.bothWrong, o.examples.onlyAWrong, o.examples.onlyBWrong].map(list => list.map(p => ({ dataSet: dataSetOf.get(o.a)!, path: p.path })))));
  const first = unique(ofTrials).slice(0, Math.min(trialPictures, limit));
  return unique([...first, ...ofPairs, ...ofTrials]).slice(0, limit);
}

function inTurn<T>(lists: readonly T[][]): T[] {
  const longest = Math.max(0, ...lists.map(list => list.length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap(list => i < list.length ? [list[i]!] : [])).flat();
}

function unique(pictures: readonly ReportPicture[]): ReportPicture[] {
  return [...new Map(pictures.map(p => [pictureKey(p.dataSet, p.path), p])).values()];
}

/** null where the native decoder cannot be loaded: the page is then without pictures. */
async function pictureShrinker(): Promise<((file: string) => Promise<string | null>) | null> {
  const { default: sharp } = await import('sharp').catch(() => ({ default: null }));
  if (!sharp) return null;
  const shrink = (image: Sharp) => image.rotate().resize(side, side, { fit: 'cover' }).flatten({ background: '#808080' }).jpeg({ quality: 70 }).toBuffer();
  return async file => {
    try {
      const jpeg = await shrink(sharp(file)).catch(async () => {
        const { data, width, height } = await (await import('../data/decode')).decodeFile(file);
        return shrink(sharp(data, { raw: { width, height, channels: 3 } }));
      });
      return `data:image/jpeg;base64,${jpeg.toString('base64')}`;
    } catch {
      return null; // moved or broken since the study ran
    }
  };
}

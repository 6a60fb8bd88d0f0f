/** Settles which classes there are and in which order, and what each written label counts as. */
import { UserError } from '../common/errors';
import { nearest } from '../common/nearest';
import { byCodeUnits } from './files';
import type { ListedImage, Listing } from './listing';

/** The classes in the order of their labels: as given, else the data set's own names, else by number or name. */
export function settleClasses(listing: Listing, given: readonly string[] | undefined): string[] {
  if (given) return requireDistinct(given);
  if (listing.labels === 'indices') return indexedClasses(listing);
  const names = [...new Set([...(listing.classNames ?? []), ...listing.images.map(image => image.label)])];
  const numeric = names.every(name => /^-?\d+$/.test(name));
  return names.sort(numeric ? (a, b) => Number(a) - Number(b) || byCodeUnits(a, b) : byCodeUnits);
}

/** The label of an image as an index into the classes; a UserError with its place where there is no such class. */
export function labelIndex(image: ListedImage, { classes, labels }: { classes: readonly string[]; labels: Listing['labels'] }): number {
  const number = /^\d+$/.test(image.label) ? Number(image.label) : -1;
  if (labels === 'indices') {
    if (number < classes.length) return number;
    throw outside(image, `the label ${image.label} is outside 0 ... ${classes.length - 1}, the ${classes.length} classes`, classes);
  }
  const index = classes.indexOf(image.label);
  if (index >= 0) return index;
  // Named classes with a CSV that numbers them.
  if (number >= 0 && number < classes.length && !classes.some(name => /^\d+$/.test(name))) return number;
  throw outside(image, `the class "${image.label}" is not among the ${classes.length} classes`, classes);
}

const most = 100_000;

function indexedClasses({ images, classNames }: Listing): string[] {
  const last = images.reduce((a, b) => Number(b.label) > Number(a.label) ? b : a);
  const count = Number(last.label) + 1;
  if (count > most) throw new UserError({ what: `the label ${last.label} would make ${count} classes`, where: last.where, remedy: 'Labels count the classes from 0; correct the label.' });
  if (classNames && classNames.length >= count && new Set(classNames).size === classNames.length) return classNames;
  return Array.from({ length: count }, (_, i) => String(i));
}

function requireDistinct(classes: readonly string[]): string[] {
  const twice = classes.find((name, i) => classes.indexOf(name) !== i);
  if (twice !== undefined) throw new UserError({ what: `the class "${twice}" is listed twice`, where: 'classes of the data set', remedy: 'List each class once.' });
  return [...classes];
}

function outside(image: ListedImage, what: string, classes: readonly string[]): UserError {
  const similar = /^\d+$/.test(image.label) ? null : nearest(image.label, classes);
  return new UserError({ what, where: image.where, remedy: `${similar === null ? 'Correct the label' : `Did you mean "${similar}"? If not, correct the label`}, or complete "classes" of the data set.` });
}

/**
 * Several methods trained together. A combination's id is the ids of its parts joined by "+", and its options are theirs
 * by id: `first+second`, `{ "first": {...}, "second": {...} }`.
 */

/** What the contract says of a method that decides what it can be combined with. */
export interface Combinable {
  id: string;
  title: string;
  /** What it replaces, so that nobody else can: `what the classifier reads`. */
  claims?: readonly string[] | undefined;
  /** Nothing of the backbone is left for another method to adapt. */
  trainsEverything?: boolean | undefined;
}

export interface Refusal {
  message: string;
  remedy: string;
}

const separator = '+';

export function combinedId(ids: readonly string[]): string {
  return ids.join(separator);
}

/** The ids of the parts; of a single method, its own. */
export function partIds(id: string): string[] {
  return id.split(separator);
}

export function isCombined(id: string): boolean {
  return id.includes(separator);
}

/** Why methods cannot be trained together; null when they can, as far as their sites tell. */
export function refusalOf(parts: readonly Combinable[]): Refusal | null {
  const twice = parts.find(({ id }, index) => parts.findIndex(other => other.id === id) < index);
  if (twice) return { message: `${twice.title} stands in the combination twice, and its tensors have the same names`, remedy: 'Keep one of the two.' };
  const everything = parts.find(part => part.trainsEverything);
  if (everything) {
    return { message: `${everything.title} trains the whole backbone and leaves nothing to combine it with`, remedy: 'Leave one of them out.' };
  }
  const claims = parts.flatMap(part => (part.claims ?? []).map(claim => ({ claim, title: part.title })));
  for (const { claim, title } of claims) {
    const others = claims.filter(other => other.claim === claim);
    if (others.length > 1) return { message: `${others.map(other => other.title).join(' and ')} both replace ${claim}`, remedy: `Leave out ${title} or the other.` };
  }
  return null;
}

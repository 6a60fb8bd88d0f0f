/** Where to write the names of marks so that they cover neither each other nor other marks. Pixels, y downwards. */
export interface Spot {
  x: number;
  y: number;
  text: string;
}

export type Side = 'right' | 'left' | 'top' | 'bottom';

export interface PlacementOptions {
  spots: readonly Spot[];
  /** The area that a label must stay in. */
  area: Box;
  /** What a label should rather not cover, such as points along a line. */
  avoid?: readonly { x: number; y: number }[];
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const sides: readonly Side[] = ['right', 'left', 'top', 'bottom'];
const characterWidth = 6.1;
const lineHeight = 13;
const radius = 6;

/** One side for each spot, the first ones given choose first; null where every side would cover another label or mark. */
export function placeLabels({ spots, area, avoid = [] }: PlacementOptions): (Side | null)[] {
  const marks = spots.map(({ x, y }) => ({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius }));
  const placed: Box[] = [];
  return spots.map((spot, i) => {
    const others = marks.filter((_, j) => j !== i);
    const free = sides.map(side => ({ side, box: labelBox(spot, side) }))
      .filter(({ box }) => isInside(box, area) && ![...others, ...placed].some(other => overlaps(box, other)));
    const covered = (box: Box) => avoid.filter(p => overlaps(box, { left: p.x, right: p.x, top: p.y, bottom: p.y })).length;
    const best = free.reduce<typeof free[number] | null>((found, next) => !found || covered(next.box) < covered(found.box) ? next : found, null);
    if (best) placed.push(best.box);
    return best?.side ?? null;
  });
}

function labelBox({ x, y, text }: Spot, side: Side): Box {
  const width = text.length * characterWidth, gap = radius + 4;
  if (side === 'right') return { left: x + gap, right: x + gap + width, top: y - lineHeight / 2, bottom: y + lineHeight / 2 };
  if (side === 'left') return { left: x - gap - width, right: x - gap, top: y - lineHeight / 2, bottom: y + lineHeight / 2 };
  const top = side === 'top' ? y - gap - lineHeight : y + gap;
  return { left: x - width / 2, right: x + width / 2, top, bottom: top + lineHeight };
}

function overlaps(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

function isInside(a: Box, b: Box): boolean {
  return a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
}

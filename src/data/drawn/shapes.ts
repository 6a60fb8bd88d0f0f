/**
 * Shapes by formula: the signed distance from a point to the outline, negative inside, exact enough near the outline to
 * anti-alias with. Coordinates are in units of the shape's radius; every shape lies within 1.2 of the origin.
 */
export const shapes = {
  disc: (u: number, v: number) => Math.hypot(u, v) - 0.85,
  square: (u: number, v: number) => box(u, v, 0.75, 0.75),
  triangle: (u: number, v: number) => Math.max(u, -0.5 * u + 0.866 * v, -0.5 * u - 0.866 * v) - 0.55,
  ring: (u: number, v: number) => Math.abs(Math.hypot(u, v) - 0.68) - 0.22,
  cross: (u: number, v: number) => Math.min(box(u, v, 0.95, 0.28), box(u, v, 0.28, 0.95)),
  star: (u: number, v: number) => star(u, v),
  bar: (u: number, v: number) => box(u, v, 1.05, 0.3),
  crescent: (u: number, v: number) => Math.max(Math.hypot(u, v) - 0.95, 0.72 - Math.hypot(u - 0.45, v)),
  /** Points along +u. */
  arrow: (u: number, v: number) => Math.min(box(u + 0.4, v, 0.55, 0.2), Math.max(-u, 0.707 * (u + Math.abs(v)) - 0.68)),
  ell: (u: number, v: number) => Math.min(box(u, v - 0.6, 0.85, 0.25), box(u - 0.6, v, 0.25, 0.85)),
} satisfies Record<string, (u: number, v: number) => number>;

export type Shape = keyof typeof shapes;

function box(u: number, v: number, halfWidth: number, halfHeight: number): number {
  return Math.max(Math.abs(u) - halfWidth, Math.abs(v) - halfHeight);
}

/** Five points at radius 1, hollows at radius 0.42: the distance to the edge of the half point that the point folds into. */
function star(u: number, v: number): number {
  const sector = (2 * Math.PI) / 5;
  const angle = Math.atan2(v, u);
  const folded = Math.abs(angle - sector * Math.round(angle / sector));
  const radius = Math.hypot(u, v);
  const [x, y] = [radius * Math.cos(folded), radius * Math.sin(folded)];
  const [hollowX, hollowY] = [0.42 * Math.cos(sector / 2), 0.42 * Math.sin(sector / 2)];
  const [edgeX, edgeY] = [1 - hollowX, -hollowY];
  return ((x - hollowX) * -edgeY + (y - hollowY) * edgeX) / Math.hypot(edgeX, edgeY);
}

/** How many points of a curve a snapshot carries: about one a pixel of a chart in a side-by-side editor. */
export const pointLimit = 400;

export interface LossPoint {
  step: number;
  loss: number;
}

/**
 * At most `limit` points: the mean of consecutive, equally large groups, placed at each group's last step, so that the
 * curve ends where training stands. Non-finite losses are left out; the trial's error says that they came.
 */
export function thinLossCurve(points: readonly LossPoint[], limit = pointLimit): LossPoint[] {
  const finite = points.filter(p => Number.isFinite(p.loss));
  if (finite.length <= limit) return finite;
  return Array.from({ length: limit }, (_, i) => {
    const group = finite.slice(Math.floor(i * finite.length / limit), Math.floor((i + 1) * finite.length / limit));
    return { step: group.at(-1)!.step, loss: group.reduce((sum, p) => sum + p.loss, 0) / group.length };
  });
}

/**
 * The steps in order, each once: an attempt that resumed from a checkpoint repeats the steps after it, and what it
 * wrote last counts.
 */
export function mergeSteps<P extends { step: number }>(points: readonly P[]): P[] {
  return [...new Map(points.map(p => [p.step, p])).values()].sort((p, q) => p.step - q.step);
}

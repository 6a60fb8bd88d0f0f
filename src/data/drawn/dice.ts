import { type StreamKey, uniform } from '../../common/random';

/** A stream of random choices; two dice of one key choose alike. */
export interface Dice {
  between(low: number, high: number): number;
  /** 0 .. count - 1. */
  below(count: number): number;
  pick<Item>(items: readonly Item[]): Item;
  chance(probability: number): boolean;
}

export function createDice(key: StreamKey): Dice {
  let counter = 0;
  const next = () => uniform(key, counter++);
  const below = (count: number) => Math.floor(next() * count);
  return {
    below,
    between: (low, high) => low + (high - low) * next(),
    pick: items => items[below(items.length)]!,
    chance: probability => next() < probability,
  };
}

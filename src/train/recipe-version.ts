/** Raised when the mathematics of training change; part of every trial's id, so that no stale result survives. */
export const recipeVersion = 1;

/** For diagnosis: PEFT_LAB_WITHOUT_PASSES=narrow-rows,fuse-sums runs graphs as they were traced in these respects. */
export function passesLeftOut(): string[] {
  return (process.env['PEFT_LAB_WITHOUT_PASSES'] ?? '').split(',').filter(Boolean);
}

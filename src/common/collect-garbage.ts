import v8 from 'node:v8';
import vm from 'node:vm';

/**
 * Frees what nothing refers to any more, now. V8 collects when JavaScript asks for memory; before native code that will take
 * most of it, large arrays would be left lying.
 */
export function collectGarbage(): void {
  v8.setFlagsFromString('--expose-gc');
  const collect: unknown = vm.runInNewContext('typeof gc === "function" && gc');
  if (typeof collect === 'function') collect();
}

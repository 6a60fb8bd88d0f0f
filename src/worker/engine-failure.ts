/** An engine that fails in a trial is told from everything else that can fail: the trial may go on with another one. */
import type { Engine, EngineId, Session } from '../engine/program';
import { isOutOfMemory } from './failure';

export class EngineFailure extends Error {
  override readonly name = 'EngineFailure';

  constructor(readonly engine: EngineId, cause: unknown) {
    super(`the engine ${engine} failed`, { cause });
  }
}

/** What went wrong in an engine, in its own words. */
export function causeOf(error: unknown): unknown {
  return error instanceof EngineFailure ? error.cause : error;
}

/** The engine, with EngineFailure around whatever it throws. A host without memory left is no failure of it. */
export function watchEngine(engine: Engine): Engine {
  const watched = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      if (error instanceof EngineFailure || (isOutOfMemory(error) && !engine.ownMemory)) throw error;
      throw new EngineFailure(engine.id, error);
    }
  };
  return {
    id: engine.id,
    precisions: engine.precisions,
    get deterministic() { return engine.deterministic; },
    get ownMemory() { return engine.ownMemory; },
    builtInWeights: engine.builtInWeights,
    fastParts: engine.fastParts,
    async open(options) {
      const session = await watched(engine.open(options));
      return {
        ...session,
        call: (program, feeds) => watched(session.call(program, feeds)),
        readState: () => watched(session.readState()),
        writeState: values => watched(session.writeState(values)),
        ...session.execution && { execution: () => session.execution!() },
        dispose: () => session.dispose(),
      } satisfies Session;
    },
  };
}

/** A session that has several ways to execute: the first that opens and runs, with its state taken along from one to the next. */
import { checkFeeds } from '../feeds';
import { findProgram } from '../eager';
import type { HostTensors, Session, SessionOptions } from '../program';

export interface Way {
  /** To go on after the title. */
  description: string;
  open(state: HostTensors): Promise<Session>;
}

export interface WaysOptions extends Pick<SessionOptions, 'programs' | 'state'> {
  /** Best first. */
  ways: readonly Way[];
  /** What executes, to go on after "it runs". */
  title: string;
}

/**
 * A way is given up when it does not open, or when the first call of a program fails in it: that call compiles the program,
 * and nothing was assigned. A later call that fails is an error of its own. Throws the last way's error when none is left.
 */
export async function openFirstWay({ programs, state, ways, title }: WaysOptions): Promise<Session> {
  const left = [...ways];
  const reasons: string[] = [];
  const proven = new Set<string>();
  const open = async (from: HostTensors): Promise<Session> => {
    try {
      return await left[0]!.open(from);
    } catch (error) {
      giveUp(error);
      return open(from);
    }
  };
  const giveUp = (error: unknown) => {
    if (left.length === 1) throw error;
    const message = error instanceof Error ? error.message : String(error);
    reasons.push(`not ${left.shift()!.description}, since ${message.split('\n')[0]}`);
  };
  let session = await open(state);
  const callCarefully = async (name: string, feeds: HostTensors): Promise<HostTensors> => {
    try {
      return await session.call(name, feeds);
    } catch (error) {
      if (proven.has(name)) throw error;
      giveUp(error);
      const reached = await session.readState();
      await session.dispose();
      session = await open(reached);
      proven.clear(); // the new way has compiled nothing yet
      return callCarefully(name, feeds);
    }
  };
  return {
    async call(name, feeds) {
      checkFeeds(name, findProgram(programs, name).feeds, feeds);
      const results = await callCarefully(name, feeds);
      proven.add(name);
      return results;
    },
    readState: () => session.readState(),
    writeState: values => session.writeState(values),
    dispose: () => session.dispose(),
    execution: () => ({ how: `${title} ${left[0]!.description}`, reasons }),
  };
}

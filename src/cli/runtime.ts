import { fileSize } from '../common/format';
import { runtimeKinds, type Runtime, type RuntimeKind } from '../common/runtimes';
import { UserError } from '../common/errors';
import type { RuntimePlan } from '../runtime/plan';
import { oneOfArgument } from './arguments';
import type { Call, Command, ExitCode } from './command';
import { installReporter } from './install-progress';
import { textTable } from './text-table';

const usage = `runtime install|remove|list [${runtimeKinds.join('|')}] [--gpu] [--version V] [--dry-run] [--json]`;

export const runtime: Command = {
  usage,
  summary: 'Install, remove and list what PEFT Lab does not carry: TensorFlow, CUDA for ONNX Runtime, compiled kernels',
  details: [
    '"tensorflow" is TensorFlow\'s library with XLA and its binding, for the engine tensorflow; with --gpu also NVIDIA\'s',
    'libraries. "cuda" is ONNX Runtime\'s CUDA part with NVIDIA\'s libraries, for the engine graph-cuda. "kernels" compiles',
    'PEFT Lab\'s own kernels, for the engine native, with the C compiler of this machine (CC names one); where there is none, with',
    'one that is fetched (100 MB) and removed again. Wheels come from PyPI (PEFT_LAB_PYPI, PIP_INDEX_URL) and are checked by',
    'SHA-256; no Python is needed. An interrupted installation goes on where it was. PEFT_LAB_DATA names another folder to',
    'install into.',
  ].join('\n'),
  flags: {
    gpu: { help: 'with NVIDIA\'s libraries (tensorflow; Linux x64)' },
    version: { value: 'V', help: 'another version of TensorFlow than the one that was tested' },
    'dry-run': { help: 'say what would be downloaded and how large it is; change nothing' },
    progress: { help: 'print progress as lines of JSON on standard error' },
  },
  positionals: ['ACTION', '[KIND]'],
  async run(call) {
    const action = oneOfArgument('ACTION', call.positionals[0]!, ['install', 'remove', 'list'] as const);
    const kind = call.positionals[1] === undefined ? null : oneOfArgument('KIND', call.positionals[1], runtimeKinds);
    if (action === 'list') return list(call, kind);
    if (!kind) throw new UserError({ what: `which runtime to ${action}: ${runtimeKinds.join(' or ')}?`, remedy: `Usage: peft-lab ${usage}` });
    return action === 'install' ? install(call, kind) : remove(call, kind);
  },
};

async function install({ flags, output }: Call, kind: RuntimeKind): Promise<ExitCode> {
  const { describePlan, planRuntime, runtimeTitle } = await import('../runtime/plan');
  const stop = listenForStop(output.say);
  try {
    output.say('Looking up what it takes ...');
    const plan = await planRuntime({ kind, gpu: 'gpu' in flags, version: flags['version'], signal: stop.signal });
    if ('dry-run' in flags) {
      output.print(describePlan(plan));
      output.document(planDocument(plan));
      return 0;
    }
    if (plan.problems.length === 0) output.say(describePlan(plan));
    const { installRuntime } = await import('../runtime/install');
    const reporter = installReporter({ stream: process.stderr, asLines: 'progress' in flags });
    const started = Date.now();
    const installed = await installRuntime(plan, { signal: stop.signal, onProgress: reporter.report }).finally(() => reporter.end());
    output.print(`${runtimeTitle(installed)} ${plan.installed ? 'was installed already' : `is installed (${Math.round((Date.now() - started) / 1000)} s)`}: ${installed.check?.says ?? ''}\n${installed.folder}`);
    output.document({ runtime: installed });
    return 0;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    output.say(`Stopped. What was fetched is kept: run it again to go on, or \`peft-lab runtime remove ${kind}\`.`);
    output.document({ cancelled: true });
    return 130;
  } finally {
    stop.dispose();
  }
}

function planDocument({ recipe, wheels, downloadBytes, unpackedBytes, folder, installed, remarks, problems }: RuntimePlan) {
  return {
    kind: recipe.kind, version: recipe.version, gpu: recipe.gpu, folder, downloadBytes, unpackedBytes, installed: installed !== null, remarks, problems,
    wheels: wheels.map(({ name, version, filename, bytes, sha256, url }) => ({ name, version, filename, bytes, sha256, host: new URL(url).host })),
  };
}

async function remove({ output }: Call, kind: RuntimeKind): Promise<ExitCode> {
  const { removeRuntimes } = await import('../runtime/install');
  const removed = await removeRuntimes(kind);
  output.print(removed.length > 0 ? removed.map(({ folder, bytes }) => `Removed ${folder} (${fileSize(bytes)})`).join('\n') : `No runtime of the kind ${kind} is installed.`);
  output.document({ removed });
  return 0;
}

async function list({ output }: Call, kind: RuntimeKind | null): Promise<ExitCode> {
  const { installedRuntimes } = await import('../common/runtimes');
  const { recheck, unfinishedRuntimes } = await import('../runtime/install');
  const runtimes: Runtime[] = [];
  for (const one of installedRuntimes().filter(found => !kind || found.kind === kind)) runtimes.push(await recheck(one));
  const unfinished = unfinishedRuntimes().filter(({ name }) => !kind || name.startsWith(`${kind}-`));
  if (runtimes.length > 0) {
    output.print(textTable(['kind', 'version', 'GPU', 'size', 'works', 'what it says', 'folder'], runtimes.map(one => [
      one.kind, one.version, one.gpu ? 'yes' : 'no', fileSize(one.bytes), one.check?.works ? 'yes' : 'no', one.check?.says ?? '', one.folder,
    ])));
  } else {
    output.print('No runtime is installed. `peft-lab runtime install tensorflow --dry-run` says what it takes.');
  }
  for (const { name, bytes } of unfinished) output.print(`Unfinished: ${name} (${fileSize(bytes)}). Install it again to go on, or remove it.`);
  output.document({ runtimes, unfinished });
  return 0;
}

interface Stop {
  signal: AbortSignal;
  dispose(): void;
}

/** Ctrl-C and the system's requests to end; a second one ends at once. */
function listenForStop(say: (text: string) => void): Stop {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(130);
    say('Stopping ...');
    controller.abort(new Error('cancelled'));
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  signals.forEach(name => process.on(name, onSignal));
  return { signal: controller.signal, dispose: () => signals.forEach(name => process.off(name, onSignal)) };
}

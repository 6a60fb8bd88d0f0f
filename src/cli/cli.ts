/** The peft-lab command: `peft-lab COMMAND ...`. */
import { describeError, UserError } from '../common/errors';
import { nearest } from '../common/nearest';
import { version } from '../../package.json';
import { parseArguments } from './arguments';
import type { Command, ExitCode } from './command';
import { commandHelp, overview } from './help';
import { flush, standardOutput } from './output';

/** One file a command; loaded when called, so that `--help` does not wait for tensors. */
const commands: Record<string, { summary: string; load(): Promise<Command> }> = {
  run: { summary: 'run a study, or go on with it', load: async () => (await import('./run')).run },
  plan: { summary: 'list a study\'s trials and what they cost; runs nothing', load: async () => (await import('./plan')).plan },
  report: { summary: 'show a study\'s results', load: async () => (await import('./report')).report },
  predict: { summary: 'classify images with a trained adapter', load: async () => (await import('./predict')).predict },
  import: { summary: 'make an adapter of one that another library wrote', load: async () => (await import('./import')).importCommand },
  export: { summary: 'write an adapter for another library, merged or as ONNX', load: async () => (await import('./export')).exportCommand },
  diff: { summary: 'compare what two adapters change in their backbone', load: async () => (await import('./diff')).diffCommand },
  count: { summary: 'count a method\'s trainable parameters', load: async () => (await import('./count')).count },
  doctor: { summary: 'measure which engines this machine has', load: async () => (await import('./doctor')).doctor },
  runtime: { summary: 'install, remove and list TensorFlow and CUDA', load: async () => (await import('./runtime')).runtime },
  demo: { summary: 'run the demo study on drawn images', load: async () => (await import('./demo')).demo },
};

void main(process.argv.slice(2));

async function main(args: string[]): Promise<void> {
  // A reader like `head` may close the pipe early: no reason to complain.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const code = await call(args);
  await flush();
  process.exit(code); // engines and decoders may hold threads
}

async function call([name, ...args]: string[]): Promise<ExitCode> {
  const output = standardOutput({ json: args.includes('--json') });
  try {
    if (name === undefined || name === '--help' || name === '-h' || name === 'help') return say(overview(commands), name === undefined ? 2 : 0);
    if (name === '--version') return say(version, 0);
    const command = await findCommand(name).load();
    const { flags, positionals } = parseArguments(args, command);
    if ('help' in flags) return say(commandHelp(command), 0);
    return await command.run({ flags, positionals, output });
  } catch (error) {
    output.say(`peft-lab${name ? ` ${name}` : ''}: ${describeError(error)}`);
    output.document({ error: error instanceof UserError ? { what: error.what, where: error.where ?? null, remedy: error.remedy ?? null } : { what: describeError(error) } });
    return error instanceof UserError ? 2 : 1;
  }
}

function findCommand(name: string) {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command) return command;
  const near = nearest(name, Object.keys(commands));
  throw new UserError({ what: `there is no such command${near ? `; did you mean "${near}"?` : ''}`, remedy: `Commands: ${Object.keys(commands).join(', ')}.` });
}

function say(text: string, code: ExitCode): ExitCode {
  (code === 0 ? process.stdout : process.stderr).write(`${text}\n`);
  return code;
}

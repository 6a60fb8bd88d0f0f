/** What the command Install GPU Runtime says: pure. */
import { fileSize } from '../common/format';

/** What `peft-lab runtime install KIND --dry-run --json` prints. */
export interface RuntimePlanDocument {
  kind: string;
  version: string;
  gpu: boolean;
  folder: string;
  downloadBytes: number;
  unpackedBytes: number;
  installed: boolean;
  remarks: string[];
  /** What is missing on this machine. */
  problems: string[];
  wheels: { name: string; version: string; bytes: number; host: string }[];
}

export interface RuntimeChoice {
  label: string;
  detail: string;
  /** Behind `runtime`. */
  args: string[];
  /** `TensorFlow`, for titles. */
  title: string;
}

/** Best for a GPU first. */
export const runtimeChoices: readonly RuntimeChoice[] = [
  { label: 'TensorFlow with CUDA', title: 'TensorFlow with CUDA', detail: 'For NVIDIA GPUs: the whole training step compiled by XLA (engine tensorflow)', args: ['tensorflow', '--gpu'] },
  { label: 'ONNX Runtime with CUDA', title: 'ONNX Runtime with CUDA', detail: 'For NVIDIA GPUs: the graph engine on CUDA (engine graph-cuda)', args: ['cuda'] },
  { label: 'TensorFlow', title: 'TensorFlow', detail: 'For the processor: the same compiled step without a GPU', args: ['tensorflow'] },
  { label: 'Kernels', title: 'The kernels', detail: 'For the processor: PEFT Lab\'s own kernels, compiled on this machine (engine native)', args: ['kernels'] },
];

/** The question before anything is fetched. */
export function planQuestion({ wheels, downloadBytes, unpackedBytes, folder, remarks }: RuntimePlanDocument): { message: string; detail: string } {
  const hosts = [...new Set(wheels.map(wheel => wheel.host))].join(', ');
  const fetched = [wheels.map(wheel => `${wheel.name} ${wheel.version} (${fileSize(wheel.bytes)})`).join(', '), `From ${hosts}, checked by SHA-256, into ${folder}.`];
  const action = downloadBytes > 0 ? `Download ${fileSize(downloadBytes)} and install` : wheels.length > 0 ? 'Install what was fetched' : 'Install without a download';
  return {
    message: `${action}? It takes ${fileSize(unpackedBytes)} on disk.`,
    detail: [...wheels.length > 0 ? fetched : [`Into ${folder}.`], ...remarks].join('\n\n'),
  };
}

export interface ProgressText {
  message: string;
  /** Share that is done, 0 to 1. */
  share: number;
}

/** A line of the installation's standard error as progress; null for any other line. */
export function installProgress(line: string): ProgressText | null {
  if (!line.startsWith('{"progress"')) return null;
  try {
    const { progress } = JSON.parse(line) as { progress: { phase: string; detail: string; done: number; total: number; bytesPerSecond: number; fraction: number } };
    const what = `${progress.phase} ${progress.detail}`.trim();
    if (progress.phase !== 'downloading') return { message: what, share: progress.fraction };
    const rate = progress.bytesPerSecond > 0 ? `, ${fileSize(progress.bytesPerSecond)}/s` : '';
    return { message: `${what}: ${fileSize(progress.done)} of ${fileSize(progress.total)}${rate}`, share: progress.fraction };
  } catch {
    return null; // torn
  }
}

/** How it ended, from the document that the installation prints. */
export function installOutcome({ title, stdout, stderr, code }: { title: string; stdout: string; stderr: string; code: number | null }): { kind: 'done' | 'warning' | 'cancelled' | 'failed'; message: string } {
  const document = parse(stdout);
  if (document?.cancelled || code === 130) return { kind: 'cancelled', message: `${title}: stopped. What was fetched is kept; install it again to go on.` };
  if (document?.runtime) {
    const { works, says } = document.runtime.check ?? { works: false, says: 'it was not checked' };
    return works ? { kind: 'done', message: `${title} is installed: ${says}.` } : { kind: 'warning', message: `${title} is installed, but does not work here yet. ${says}` };
  }
  const { what, where, remedy } = document?.error ?? { what: `the installation ended with ${code === null ? 'a signal' : `code ${code}`}: ${stderr.trim().split('\n').at(-1)}`, where: null, remedy: null };
  return { kind: 'failed', message: `${title} is not installed: ${[where ? `${where}: ${what}` : what, remedy].filter(Boolean).join('. ')}` };
}

interface OutcomeDocument {
  cancelled?: boolean;
  runtime?: { check: { works: boolean; says: string } | null };
  error?: { what: string; where?: string | null; remedy?: string | null };
}

function parse(text: string): OutcomeDocument | null {
  try {
    return JSON.parse(text) as OutcomeDocument;
  } catch {
    return null;
  }
}

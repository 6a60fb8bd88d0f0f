/** The doctor's report as a page of Markdown. Pure. */

/** What `peft-lab doctor --json` prints. */
export interface DoctorReport {
  engines: DoctorEngine[];
  runtimes?: DoctorRuntimes;
  [fact: string]: unknown;
}

export interface DoctorEngine {
  id: string;
  available: boolean;
  correct: boolean;
  gradientError?: number | null;
  msPerStep: number | null;
  chosen: boolean;
  why: string;
}

/** What was installed after the fact, and what could be. */
export interface DoctorRuntimes {
  installed: { title: string; folder: string; works: boolean | null; says: string }[];
  possible: string[];
}

export interface DoctorPage {
  report: DoctorReport;
  /** The executable that was asked, and that would train. */
  executable: string;
  log: string;
}

export function doctorPage({ report, executable, log }: DoctorPage): string {
  const { engines, runtimes, ...facts } = report;
  const chosen = engines.find(engine => engine.chosen);
  return `# PEFT Lab Doctor

${chosen ? `Training uses the engine **${chosen.id}** on this machine (${escape(chosen.why)}).` : '**No engine works on this machine.** The reasons stand below.'}

| engine | works | gradients right | ms a step | why |
|---|---|---|---:|---|
${engines.map(engineRow).join('\n')}

An engine is right when each gradient differs from the reference by at most 1e-4 of its largest value. The fastest right one is chosen; a study can ask for another with \`"engine"\`.

${runtimes ? runtimeSection(runtimes) : ''}## Trainer

| | |
|---|---|
${factRows({ executable, ...facts }).join('\n')}
${log.trim() ? `\n## Log\n\n\`\`\`\n${log.trim().replaceAll('```', "'''")}\n\`\`\`\n` : ''}`;
}

function runtimeSection({ installed, possible }: DoctorRuntimes): string {
  const rows = installed.map(({ title, works, says, folder }) => `| ${title} | ${works === null ? '' : yes(works)} | ${escape(says)} | ${escape(folder)} |`);
  const table = rows.length > 0 ? `| runtime | works | what it says | folder |\n|---|---|---|---|\n${rows.join('\n')}\n\n` : '';
  const hints = possible.map(text => `- ${escape(text)}\n`).join('');
  return `## Runtimes\n\n${table}${hints || table ? hints : 'None is installed, and none fits this machine.\n'}${hints ? '\nOr *PEFT Lab: Install GPU Runtime* from the palette.\n' : ''}\n`;
}

function engineRow({ id, available, correct, msPerStep, chosen, why }: DoctorEngine): string {
  const name = chosen ? `**${id}** (chosen)` : id;
  return `| ${name} | ${yes(available)} | ${available ? yes(correct) : ''} | ${msPerStep === null ? '' : msPerStep.toFixed(1)} | ${escape(why)} |`;
}

/** A row a fact, each once; groups of facts (`machine: { node: ... }`) are laid flat. */
function factRows(facts: Record<string, unknown>): string[] {
  const flat = new Map(flatten(facts).map(([name, value]) => [words(name), value]));
  return [...flat].map(([name, value]) => `| ${name} | ${escape(value)} |`);
}

function flatten(facts: Record<string, unknown>): [string, string][] {
  return Object.entries(facts).flatMap(([name, value]): [string, string][] => {
    if (typeof value !== 'object' || value === null) return [[name, String(value)]];
    return Array.isArray(value) ? [[name, value.map(one => typeof one === 'object' ? JSON.stringify(one) : String(one)).join(', ')]] : flatten(value as Record<string, unknown>);
  });
}

/** `cacheFolder` to `cache folder`, `memoryGiB` to `memory GiB`. */
function words(name: string): string {
  return name.replace(/GiB$/, ' GiB').replace(/([a-z])([A-Z])(?=[a-z]{2})/g, (_, end: string, start: string) => `${end} ${start.toLowerCase()}`);
}

function yes(value: boolean): string {
  return value ? 'yes' : 'no';
}

function escape(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}

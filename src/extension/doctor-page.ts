/** The doctor's report as a page of Markdown. Pure. */

/** What `peft-lab doctor --json` prints. */
export interface DoctorReport {
  engines: DoctorEngine[];
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

export interface DoctorPage {
  report: DoctorReport;
  /** The executable that was asked, and that would train. */
  executable: string;
  log: string;
}

export function doctorPage({ report, executable, log }: DoctorPage): string {
  const { engines, ...facts } = report;
  const chosen = engines.find(engine => engine.chosen);
  return `# PEFT Lab Doctor

${chosen ? `Training uses the engine **${chosen.id}** on this machine: ${escape(chosen.why)}.` : '**No engine works on this machine.** The reasons stand below.'}

| engine | works | gradients right | ms a step | why |
|---|---|---|---:|---|
${engines.map(engineRow).join('\n')}

An engine is right when each gradient differs from the reference by at most 1e-4 of its largest value. The fastest right one is chosen; a study can ask for another with \`"engine"\`.

## Trainer

| | |
|---|---|
| executable | ${escape(executable)} |
${factRows(facts).join('\n')}
${log.trim() ? `\n## Log\n\n\`\`\`\n${log.trim().replaceAll('```', "'''")}\n\`\`\`\n` : ''}`;
}

function engineRow({ id, available, correct, msPerStep, chosen, why }: DoctorEngine): string {
  const name = chosen ? `**${id}** (chosen)` : id;
  return `| ${name} | ${yes(available)} | ${available ? yes(correct) : ''} | ${msPerStep === null ? '' : msPerStep.toFixed(1)} | ${escape(why)} |`;
}

/** Facts may be nested: `versions: { node: ... }` makes a row `versions node`. */
function factRows(facts: Record<string, unknown>, prefix = ''): string[] {
  return Object.entries(facts).flatMap(([name, value]) => {
    if (Array.isArray(value)) return value.length ? [`| ${prefix}${name} | ${escape(value.map(one => typeof one === 'object' ? JSON.stringify(one) : String(one)).join(', '))} |`] : [];
    if (typeof value === 'object' && value !== null) return factRows(value as Record<string, unknown>, `${prefix}${name} `);
    return [`| ${prefix}${name} | ${escape(String(value))} |`];
  });
}

function yes(value: boolean): string {
  return value ? 'yes' : 'no';
}

function escape(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}

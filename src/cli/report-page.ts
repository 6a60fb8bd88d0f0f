import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { summarize } from '../analysis/summary';
import { UserError } from '../common/errors';
import { integer, percent } from '../common/format';
import { reportElementId } from '../common/panel-messages';
import type { ReportData } from '../common/panel-messages';
import type { Snapshot, SnapshotTrial } from '../common/snapshot';
import { writeAtomic } from '../store/files';
import { reportPictures } from './report-pictures';
import { reportTheme } from './report-theme';

/**
 * Writes one HTML file that needs nothing else: the panel itself with the snapshot and small pictures in it. It opens
 * from the disk without a network; without scripts it still shows the table.
 */
export async function writeReportPage(snapshot: Snapshot, file: string): Promise<void> {
  const data: ReportData = { snapshot: { ...snapshot, running: false }, pictures: await reportPictures(snapshot), summary: summarize(snapshot) };
  writeAtomic(path.resolve(file), reportPage(data, readPanel()));
}

export interface PanelFiles {
  script: string;
  style: string;
}

/** The page's text. The policy in it lets nothing in but what the page carries. */
export function reportPage(data: ReportData, { script, style }: PanelFiles): string {
  const nonce = randomBytes(16).toString('base64');
  const policy = `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'; img-src data:; base-uri 'none'; form-action 'none'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta property="csp-nonce" content="${nonce}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(data.snapshot.study.name)} – PEFT Lab</title>
<style nonce="${nonce}">
${reportTheme()}
${style.replaceAll('</', '<\\/')}
</style>
</head>
<body>
<main id="panel"></main>
<noscript>
${staticContent(data)}
</noscript>
<script type="application/json" id="${reportElementId}">${escapeJson(data)}</script>
<script nonce="${nonce}">
${escapeScript(script)}
</script>
</body>
</html>
`;
}

/** The built panel lies beside the built command line, or some folders above a built test. */
function readPanel(): PanelFiles {
  const above = [0, 1, 2, 3].map(levels => path.join(__dirname, ...new Array<string>(levels).fill('..'), 'webview'));
  const folder = [...above, path.resolve('dist/webview')].find(f => fs.existsSync(path.join(f, 'panel.js')));
  if (!folder) {
    throw new UserError({
      what: 'the built panel is missing, which the report page is made of', where: above[0],
      remedy: 'Run `npm run build`, or install PEFT Lab again.',
    });
  }
  const read = (name: string) => fs.readFileSync(path.join(folder, name), 'utf8').replace(/\n(?:\/\/|\/\*)# sourceMappingURL=.*\s*$/, '\n');
  return { script: read('panel.js'), style: read('panel.css') };
}

function staticContent({ snapshot, summary }: ReportData): string {
  const cells = (trial: SnapshotTrial) => [
    trial.dataSet, trial.label, trial.status, integer(trial.parameters.trainable), percent(trial.validation?.top1), percent(trial.test?.top1),
  ].map(text => `<td>${escapeHtml(text)}</td>`).join('');
  return `<h1>${escapeHtml(snapshot.study.name)}</h1>
<ul>${summary.map(line => `<li>${escapeHtml(line)}</li>`).join('')}</ul>
<table>
<thead><tr><th>Data set</th><th>Trial</th><th>Status</th><th>Trained parameters</th><th>Validation top-1</th><th>Test top-1</th></tr></thead>
<tbody>
${snapshot.trials.map(trial => `<tr>${cells(trial)}</tr>`).join('\n')}
</tbody>
</table>`;
}

/** No text in it can end the element that it stands in, nor begin a comment there. */
function escapeJson(data: unknown): string {
  return JSON.stringify(data).replace(/[<>\u2028\u2029]/g, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** In a script these sequences only occur inside strings and patterns, where a backslash before them changes nothing. */
function escapeScript(script: string): string {
  return script.replace(/<\/(script)/gi, '<\\/$1').replace(/<!--/g, '<\\!--');
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
}

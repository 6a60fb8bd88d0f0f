import * as vscode from 'vscode';
import { studyPattern } from './study-files';

/** Run and Results above every study file; no more than text, so that it costs nothing. */
export function registerCodeLenses(): vscode.Disposable {
  return vscode.languages.registerCodeLensProvider({ scheme: 'file', pattern: studyPattern }, {
    provideCodeLenses({ uri }) {
      const top = new vscode.Range(0, 0, 0, 0);
      const results = new vscode.CodeLens(top, { command: 'peftLab.showResults', title: '$(graph) Results', arguments: [uri] });
      if (!vscode.workspace.isTrusted) return [results];
      return [new vscode.CodeLens(top, { command: 'peftLab.runStudy', title: '$(play) Run', arguments: [uri] }), results];
    },
  });
}

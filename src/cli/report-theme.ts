/** Values for the editor's colour variables, for a page that no editor shows: one light theme and one dark one. */
const shared = {
  'font-family': 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif',
  'font-size': '13px',
  'font-weight': 'normal',
  'editor-font-family': 'ui-monospace, Consolas, "Liberation Mono", monospace',
};

const light = {
  'foreground': '#2b2b2b', 'descriptionForeground': '#606060', 'errorForeground': '#b3261e', 'focusBorder': '#005fb8',
  'editor-background': '#ffffff', 'editorWarning-foreground': '#9a6a00', 'editorHoverWidget-background': '#f8f8f8',
  'editorHoverWidget-border': '#c8c8c8', 'editorIndentGuide-background1': '#dcdcdc', 'widget-border': '#dddddd',
  'panel-background': '#ffffff', 'panel-border': '#dddddd', 'panelTitle-activeBorder': '#005fb8',
  'panelTitle-activeForeground': '#2b2b2b', 'panelTitle-inactiveForeground': '#606060',
  'list-hoverBackground': '#f1f1f1', 'list-inactiveSelectionBackground': '#e4e6f1',
  'list-activeSelectionBackground': '#dceaf8', 'list-activeSelectionForeground': '#1a1a1a',
  'button-background': '#005fb8', 'button-foreground': '#ffffff', 'button-hoverBackground': '#0258a8', 'button-border': '#0000001a',
  'button-secondaryBackground': '#e5e5e5', 'button-secondaryForeground': '#2b2b2b', 'button-secondaryHoverBackground': '#cccccc',
  'input-background': '#ffffff', 'input-foreground': '#2b2b2b', 'input-placeholderForeground': '#707070',
  'dropdown-background': '#ffffff', 'dropdown-border': '#c8c8c8', 'dropdown-foreground': '#2b2b2b', 'settings-dropdownListBorder': '#c8c8c8',
  'checkbox-background': '#f8f8f8', 'checkbox-border': '#b8b8b8', 'checkbox-foreground': '#2b2b2b',
  'badge-background': '#cccccc', 'badge-foreground': '#2b2b2b', 'progressBar-background': '#005fb8',
  'textLink-foreground': '#005fb8', 'textLink-activeForeground': '#003f7d', 'textCodeBlock-background': '#f3f3f3',
  'scrollbarSlider-background': '#64646466', 'scrollbarSlider-hoverBackground': '#646464b3', 'scrollbarSlider-activeBackground': '#00000099',
  'charts-blue': '#1a6fc4', 'symbolIcon-classForeground': '#c4650f', 'charts-green': '#3c8a3c', 'charts-purple': '#7b4fb5', 'charts-yellow': '#a98300',
  'charts-red': '#cf3030', 'terminal-ansiCyan': '#0d8aa8', 'terminal-ansiMagenta': '#b0359f', 'testing-iconPassed': '#3c8a3c',
};

const dark: Record<keyof typeof light, string> = {
  'foreground': '#cccccc', 'descriptionForeground': '#9d9d9d', 'errorForeground': '#f88379', 'focusBorder': '#2f8fdd',
  'editor-background': '#1f1f1f', 'editorWarning-foreground': '#cca700', 'editorHoverWidget-background': '#262626',
  'editorHoverWidget-border': '#4a4a4a', 'editorIndentGuide-background1': '#404040', 'widget-border': '#383838',
  'panel-background': '#1f1f1f', 'panel-border': '#383838', 'panelTitle-activeBorder': '#2f8fdd',
  'panelTitle-activeForeground': '#e0e0e0', 'panelTitle-inactiveForeground': '#9d9d9d',
  'list-hoverBackground': '#2a2d2e', 'list-inactiveSelectionBackground': '#37373d',
  'list-activeSelectionBackground': '#04395e', 'list-activeSelectionForeground': '#ffffff',
  'button-background': '#0078d4', 'button-foreground': '#ffffff', 'button-hoverBackground': '#026ec1', 'button-border': '#ffffff12',
  'button-secondaryBackground': '#313131', 'button-secondaryForeground': '#cccccc', 'button-secondaryHoverBackground': '#3c3c3c',
  'input-background': '#313131', 'input-foreground': '#cccccc', 'input-placeholderForeground': '#989898',
  'dropdown-background': '#313131', 'dropdown-border': '#4a4a4a', 'dropdown-foreground': '#cccccc', 'settings-dropdownListBorder': '#4a4a4a',
  'checkbox-background': '#313131', 'checkbox-border': '#5a5a5a', 'checkbox-foreground': '#cccccc',
  'badge-background': '#616161', 'badge-foreground': '#f8f8f8', 'progressBar-background': '#0078d4',
  'textLink-foreground': '#4daafc', 'textLink-activeForeground': '#7cc0fd', 'textCodeBlock-background': '#2b2b2b',
  'scrollbarSlider-background': '#79797966', 'scrollbarSlider-hoverBackground': '#646464b3', 'scrollbarSlider-activeBackground': '#bfbfbf66',
  'charts-blue': '#4aa0f0', 'symbolIcon-classForeground': '#e0923a', 'charts-green': '#89d185', 'charts-purple': '#b78be0', 'charts-yellow': '#d6b32e',
  'charts-red': '#f26d6d', 'terminal-ansiCyan': '#2fb9d6', 'terminal-ansiMagenta': '#d770d0', 'testing-iconPassed': '#73c991',
};

/** A style sheet that sets the variables, by the reader's colour scheme. */
export function reportTheme(): string {
  return `:root { color-scheme: light dark; ${declarations({ ...shared, ...light })} }
@media (prefers-color-scheme: dark) { :root { ${declarations(dark)} } }`;
}

function declarations(values: Record<string, string>): string {
  return Object.entries(values).map(([name, value]) => `--vscode-${name}: ${value};`).join(' ');
}

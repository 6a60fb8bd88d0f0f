/** The colours of a chart, as the editor's theme has them at the moment. */
export interface ChartTheme {
  font: string;
  fontSize: number;
  foreground: string;
  muted: string;
  grid: string;
  background: string;
  tooltipBackground: string;
  tooltipBorder: string;
  /** Right answers and mistakes in a confusion matrix. */
  right: string;
  wrong: string;
  /** Told apart by methods. */
  palette: string[];
}

/**
 * The theme's chart colours first, but for its orange, which dark themes of the editor's make a brown that is hard to
 * see; others fill up, since the theme has six only.
 */
const paletteVariables = [
  ['--vscode-charts-blue', '#3794ff'], ['--vscode-symbolIcon-classForeground', '#d18616'], ['--vscode-charts-green', '#89d185'],
  ['--vscode-charts-purple', '#b180d7'], ['--vscode-charts-yellow', '#cca700'], ['--vscode-terminal-ansiCyan', '#11a8cd'],
  ['--vscode-charts-red', '#f14c4c'], ['--vscode-terminal-ansiMagenta', '#bc3fbc'],
] as const;

export function readTheme(element: Element = document.body): ChartTheme {
  const styles = getComputedStyle(element);
  const read = (name: string, otherwise: string) => styles.getPropertyValue(name).trim() || otherwise;
  const foreground = read('--vscode-foreground', '#cccccc');
  return {
    font: read('--vscode-font-family', 'sans-serif'),
    fontSize: 12,
    foreground,
    muted: read('--vscode-descriptionForeground', foreground),
    grid: read('--vscode-editorIndentGuide-background1', read('--vscode-widget-border', 'rgba(128, 128, 128, 0.3)')),
    background: read('--vscode-editor-background', '#1e1e1e'),
    tooltipBackground: read('--vscode-editorHoverWidget-background', '#252526'),
    tooltipBorder: read('--vscode-editorHoverWidget-border', '#454545'),
    right: read('--vscode-charts-blue', '#3794ff'),
    wrong: read('--vscode-symbolIcon-classForeground', '#d18616'),
    palette: paletteVariables.map(([name, otherwise]) => read(name, otherwise)),
  };
}

export function methodColour(theme: ChartTheme, index: number): string {
  return theme.palette[index % theme.palette.length]!;
}

/** The same colour for a style sheet, which follows the theme by itself. */
export function methodVariable(index: number): string {
  const [name, otherwise] = paletteVariables[index % paletteVariables.length]!;
  return `var(${name}, ${otherwise})`;
}

const dashes = ['solid', 'dashed', 'dotted'] as const;

/** Lines of one method share a colour; the dash tells them apart. */
export function variantDash(variant: number): typeof dashes[number] {
  return dashes[variant % dashes.length]!;
}

/** `share` of a colour over another, both as CSS writes opaque or translucent colours: `#rgb`, `#rrggbb`, `rgb()`. */
export function mix(colour: string, over: string, share: number): string {
  const [a, b] = [channels(colour), channels(over)];
  return `rgb(${a.map((value, i) => Math.round(share * value + (1 - share) * b[i]!)).join(', ')})`;
}

function channels(colour: string): number[] {
  const hex = /^#([0-9a-f]{3,8})$/i.exec(colour)?.[1];
  if (!hex) return (colour.match(/[\d.]+/g) ?? ['128', '128', '128']).slice(0, 3).map(Number);
  const wide = hex.length < 6 ? [...hex].map(c => c + c).join('') : hex;
  return [0, 2, 4].map(i => parseInt(wide.slice(i, i + 2), 16));
}

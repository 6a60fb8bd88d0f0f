/** Pieces that the charts share. */
import type { ChartTheme } from './theme';

export function tooltip(theme: ChartTheme, content: (parameters: unknown) => HTMLElement) {
  return {
    confine: true, backgroundColor: theme.tooltipBackground, borderColor: theme.tooltipBorder, borderWidth: 1, padding: [6, 10],
    textStyle: { color: theme.foreground, fontFamily: theme.font, fontSize: theme.fontSize, fontWeight: 'normal' as const },
    extraCssText: 'box-shadow: 0 2px 8px rgba(0, 0, 0, 0.25); border-radius: 3px;',
    formatter: content,
  };
}

export interface TooltipRow {
  colour?: string | undefined;
  name: string;
  value: string;
}

/** Built as elements, never as markup: names come from the user's files. */
export function tooltipContent(title: string, rows: readonly TooltipRow[]): HTMLElement {
  const content = element('div', 'line-height: 1.5');
  if (title) content.append(element('div', 'font-weight: 600; margin-bottom: 2px', title));
  for (const { colour, name, value } of rows) {
    const row = element('div', 'display: flex; align-items: center; gap: 8px');
    if (colour) row.append(element('span', `flex: none; width: 8px; height: 8px; border-radius: 50%; background: ${colour}`));
    row.append(element('span', 'flex: 1; margin-right: 12px', name), element('span', 'font-variant-numeric: tabular-nums', value));
    content.append(row);
  }
  return content;
}

function element(tag: string, style: string, text?: string): HTMLElement {
  const made = document.createElement(tag);
  made.style.cssText = style;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function axisName(theme: ChartTheme, name: string, gap: number) {
  return { name, nameLocation: 'middle' as const, nameGap: gap, nameTextStyle: { color: theme.muted, fontSize: theme.fontSize } };
}

export function axisLines(theme: ChartTheme) {
  return {
    axisLine: { lineStyle: { color: theme.muted } },
    axisTick: { lineStyle: { color: theme.muted } },
    axisLabel: { color: theme.muted, fontSize: theme.fontSize },
    splitLine: { lineStyle: { color: theme.grid, opacity: 0.6 } },
    minorSplitLine: { show: false },
  };
}

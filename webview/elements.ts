/**
 * The controls of the panel. The only file that knows @vscode/webview-ui-toolkit: it is archived, and what replaces it
 * one day needs these functions and nothing else.
 */
import {
  provideVSCodeDesignSystem, vsCodeBadge, vsCodeButton, vsCodeCheckbox, vsCodeDropdown, vsCodeOption, vsCodePanelTab,
  vsCodePanelView, vsCodePanels, vsCodeProgressRing, vsCodeTextField,
} from '@vscode/webview-ui-toolkit';
import { h } from './dom';
import type { Child, Tree } from './dom';

export function registerElements(): void {
  provideVSCodeDesignSystem().register(
    vsCodeBadge(), vsCodeButton(), vsCodeCheckbox(), vsCodeDropdown(), vsCodeOption(), vsCodePanelTab(), vsCodePanelView(),
    vsCodePanels(), vsCodeProgressRing(), vsCodeTextField(),
  );
}

export function button({ label, onClick, appearance = 'secondary', title }: {
  label: string; onClick: () => void; appearance?: 'primary' | 'secondary'; title?: string;
}): Tree {
  return h('vscode-button', { key: label, appearance, title, onclick: onClick }, label);
}

export function textField({ label, value, placeholder, onInput }: {
  label: string; value: string; placeholder: string; onInput: (value: string) => void;
}): Tree {
  return h('vscode-text-field', {
    'key': label, 'class': 'filter-text', 'aria-label': label, placeholder, '.value': value,
    'oninput': (event: Event) => onInput((event.target as HTMLInputElement).value),
  });
}

export interface Choice {
  value: string;
  label: string;
}

/** A drop-down list with a visible name. */
export function dropdown({ label, value, choices, onChange }: {
  label: string; value: string; choices: readonly Choice[]; onChange: (value: string) => void;
}): Tree {
  // No <label>: its click would reach the list a second time and close it again.
  return h('div', { key: label, class: 'field' },
    h('span', { class: 'field-name', 'aria-hidden': 'true' }, label),
    h('vscode-dropdown', {
      'aria-label': label, '.value': value,
      'onchange': (event: Event) => onChange((event.currentTarget as HTMLSelectElement).value),
    }, choices.map(choice => h('vscode-option', { 'key': choice.value, 'value': choice.value }, choice.label))));
}

/** Shows no label of its own; `label` is what a screen reader says. */
export function checkbox({ label, checked, onChange }: { label: string; checked: boolean; onChange: (checked: boolean) => void }): Tree {
  return h('vscode-checkbox', {
    // The element also says `change` when it is set from here; only what the user did counts. Hence this stands first:
    // the handler of the last drawing would take the new value for the user's.
    'onchange': (event: Event) => {
      const now = (event.currentTarget as HTMLInputElement).checked;
      if (now !== checked) onChange(now);
    },
    '.checked': checked,
  }, label); // the element names itself after its text, whatever its aria-label says; the style sheet hides the text
}

export function badge(text: string, name?: string): Tree {
  return h('vscode-badge', { class: name }, text);
}

export function progressRing(label: string): Tree {
  return h('vscode-progress-ring', { 'aria-label': label });
}

export interface Tab {
  id: string;
  label: string;
  content: () => Child;
}

/** Only the open tab has content. */
export function tabs({ label, active, tabs: all, onChange }: {
  label: string; active: string; tabs: readonly Tab[]; onChange: (id: string) => void;
}): Tree {
  const elementId = (id: string) => `tab-${id}`;
  return h('vscode-panels', {
    'aria-label': label, '.activeid': elementId(active),
    'onchange': (event: Event) => {
      if (event.target !== event.currentTarget) return; // bubbled up from a control inside
      const chosen = all.find(tab => elementId(tab.id) === (event.currentTarget as unknown as { activeid: string }).activeid);
      if (chosen && chosen.id !== active) onChange(chosen.id);
    },
  },
  all.map(tab => h('vscode-panel-tab', { key: `tab ${tab.id}`, id: elementId(tab.id) }, tab.label)),
  all.map(tab => h('vscode-panel-view', { key: `view ${tab.id}`, id: `view-${tab.id}` }, tab.id === active && tab.content())));
}

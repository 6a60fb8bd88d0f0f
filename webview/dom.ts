/**
 * Views are pure functions that return trees; `patch` makes the page look like them and touches only what differs, so
 * that a snapshot a second costs neither focus nor scroll position nor a half-typed filter. Text only ever becomes text
 * nodes: data cannot become markup.
 */
export interface Tree {
  tag: string;
  /** Tells siblings apart when they move. */
  key: string | undefined;
  attributes: Attributes;
  children: (Tree | string)[];
}

/**
 * `onclick` and the like are handlers, `.value` sets a property, `style` takes declarations, `key` names the tree among
 * its siblings; everything else is an attribute (true is present, false and null absent).
 */
export type Attributes = Record<string, unknown>;
export type Child = Tree | string | number | false | null | undefined | Child[];

export function h(tag: string, attributes: Attributes = {}, ...children: Child[]): Tree {
  const { key, ...others } = attributes;
  return { tag, key: key as string | undefined, attributes: others, children: flatten(children) };
}

/** Makes the children of `parent` look like `trees`, reusing what is there. */
export function patch(parent: Element, trees: readonly (Tree | string)[]): void {
  const reusable = new Map<string, Node[]>();
  for (const node of parent.childNodes) pushTo(reusable, identity(drawn.get(node) ?? ''), node);
  let cursor = parent.firstChild;
  const kept = new Set<Node>();
  for (const tree of trees) {
    const node = reusable.get(identity(tree))?.shift() ?? create(tree, parent);
    kept.add(node);
    update(node, tree); // before it is inserted: controls look at their attributes when they are connected
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
  }
  for (const node of [...parent.childNodes]) if (!kept.has(node)) node.remove();
}

/** All text of a tree, for tests and labels. */
export function textOf(tree: Tree | string): string {
  return typeof tree === 'string' ? tree : tree.children.map(textOf).join(' ').replace(/\s+/g, ' ').trim();
}

/** What each node was last made to look like. */
const drawn = new WeakMap<Node, Tree | string>();
const svgNamespace = 'http://www.w3.org/2000/svg';

/** Nodes with the same identity can stand for each other. */
function identity(tree: Tree | string): string {
  return typeof tree === 'string' ? '#text' : `${tree.tag} ${tree.key ?? ''}`;
}

function create(tree: Tree | string, parent: Element): Node {
  if (typeof tree === 'string') return document.createTextNode('');
  const isSvg = tree.tag === 'svg' || parent.namespaceURI === svgNamespace;
  return isSvg ? document.createElementNS(svgNamespace, tree.tag) : document.createElement(tree.tag);
}

function update(node: Node, tree: Tree | string): void {
  const before = drawn.get(node);
  drawn.set(node, tree);
  if (typeof tree === 'string') {
    if (before !== tree) node.nodeValue = tree;
    return;
  }
  const element = node as HTMLElement;
  patch(element, tree.children); // before the attributes: the value of a list is one of its options
  const old = typeof before === 'object' ? before.attributes : {};
  for (const name of Object.keys(old)) if (!(name in tree.attributes)) setAttribute(element, name, null);
  for (const [name, value] of Object.entries(tree.attributes)) {
    if (name.startsWith('.') || value !== old[name]) setAttribute(element, name, value);
  }
}

function setAttribute(element: HTMLElement, name: string, value: unknown): void {
  const properties = element as unknown as Record<string, unknown>;
  if (name.startsWith('on')) properties[name] = value;
  else if (name === 'style') setStyle(element, value as Record<string, string> | null);
  else if (name.startsWith('.')) {
    if (properties[name.slice(1)] !== value) properties[name.slice(1)] = value;
  } else if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? '' : String(value));
}

/** Through the object model, which a strict content security policy allows where style attributes are refused. */
function setStyle(element: HTMLElement, declarations: Record<string, string> | null): void {
  const text = Object.entries(declarations ?? {}).map(([property, value]) => `${property}: ${value}`).join('; ');
  if (element.style.cssText !== text) element.style.cssText = text;
}

function flatten(children: readonly Child[]): (Tree | string)[] {
  return children.flatMap((child): (Tree | string)[] => {
    if (child === null || child === undefined || child === false) return [];
    if (Array.isArray(child)) return flatten(child);
    return [typeof child === 'number' ? String(child) : child];
  });
}

function pushTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

/** Text of a study file to a study, or to everything that is wrong with it, each with its place and its remedy. */
import { findNodeAtLocation, parseTree, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';
import { explainIssues, pathText, type Explanation, type IssuePath } from './explain-issues';
import { checkStudy } from './check-study';
import { studySchema, type MethodOptionSchema, type Study } from './study';

export interface StudyProblem {
  message: string;
  /** 1-based. */
  line: number;
  /** 1-based. */
  column: number;
  /** Characters that the problem covers, from its place on; at least 1. */
  length: number;
  /** `methods[0].options.rank`; empty for the whole file. */
  path: string;
  remedy: string | null;
}

export type ParsedStudy = { study: Study; problems?: never } | { problems: StudyProblem[]; study?: never };

/** `methods` are the ones that a study may name: methodOptionSchemas() or, without tensors, methodCatalog(). */
export function parseStudy(text: string, methods: readonly MethodOptionSchema[]): ParsedStudy {
  const errors: ParseError[] = [];
  const source = text.replace(/^\uFEFF/, ' ');
  const root = parseTree(source, errors, { allowTrailingComma: true });
  if (errors.length || !root) return { problems: syntaxProblems(source, errors) };
  const place = (explanation: PlacedExplanation) => placeProblem(source, root, explanation);
  const duplicates = duplicateKeys(root);
  if (duplicates.length) return { problems: duplicates.map(place) };
  const schema = studySchema(methods);
  const value = toValue(root);
  const parsed = schema.safeParse(value);
  const wrong = parsed.success ? checkStudy(parsed.data, methods, value) : explainIssues(parsed.error.issues, schema, value);
  if (!parsed.success || wrong.length) return { problems: wrong.map(place) };
  return { study: parsed.data };
}

/** `file:line:column: message` and the remedy in a line of its own, as terminals and editors link it. */
export function formatProblem(file: string, { line, column, path, message, remedy }: StudyProblem): string {
  return `${file}:${line}:${column}: ${path ? `${path}: ` : ''}${message}${remedy ? `\n  ${remedy}` : ''}`;
}

function syntaxProblems(text: string, errors: ParseError[]): StudyProblem[] {
  if (!text.trim()) return [{ ...position(text, 0), length: 1, path: '', message: 'the file is empty', remedy: 'Run "PEFT Lab: New Study", or copy media/demo/demo.peft.json.' }];
  return errors.slice(0, 5).map(({ error, offset, length }) => ({
    ...position(text, offset), length: Math.max(1, length), path: '',
    message: `not JSON: ${sentence(printParseErrorCode(error))}`,
    remedy: 'Write JSON here; comments and trailing commas are allowed.',
  }));
}

/** InvalidSymbol to "invalid symbol". */
function sentence(code: string): string {
  return code.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
}

/** `node` where the path does not say which of two nodes is meant. */
type PlacedExplanation = Explanation & { node?: Node };

function duplicateKeys(node: Node, path: IssuePath = []): PlacedExplanation[] {
  if (node.type === 'array') return node.children!.flatMap((child, i) => duplicateKeys(child, [...path, i]));
  if (node.type !== 'object') return [];
  const seen = new Set<string>();
  return node.children!.flatMap((property): PlacedExplanation[] => {
    const [key, value] = property.children as [Node, Node?];
    const name = String(key.value);
    const inside = value ? duplicateKeys(value, [...path, name]) : [];
    if (!seen.has(name)) { seen.add(name); return inside; }
    return [{ path: [...path, name], node: key, message: `"${name}" stands here twice`, remedy: 'Keep one of the two.' }, ...inside];
  });
}

function placeProblem(text: string, root: Node, { path, key, node, message, remedy }: PlacedExplanation): StudyProblem {
  const found = node ?? (key !== undefined ? keyNode(root, path, key) : valueNode(root, path));
  const isLarge = found.type === 'object' || found.type === 'array';
  return { ...position(text, found.offset), length: isLarge ? 1 : Math.max(1, found.length), path: pathText(path), message, remedy };
}

/** The value's node, or the nearest one around it for what is missing. */
function valueNode(root: Node, path: IssuePath): Node {
  for (let end = path.length; end > 0; end--) {
    const node = findNodeAtLocation(root, path.slice(0, end));
    if (node) return node;
  }
  return root;
}

function keyNode(root: Node, path: IssuePath, key: string): Node {
  const parent = valueNode(root, path);
  const property = parent.children?.find(child => child.type === 'property' && child.children?.[0]?.value === key);
  return property?.children?.[0] ?? parent;
}

function position(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: before.at(-1)!.length + 1 };
}

/** The plain value; `__proto__` becomes an ordinary key, and so an unknown one. */
function toValue(node: Node): unknown {
  if (node.type === 'array') return node.children!.map(toValue);
  if (node.type !== 'object') return node.value as unknown;
  const entries = node.children!.map(({ children }) => [String(children![0]!.value), children![1] ? toValue(children![1]) : null]);
  return Object.fromEntries(entries) as unknown;
}

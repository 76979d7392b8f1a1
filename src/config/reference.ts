type Schema = {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: Schema | boolean;
  items?: Schema | Schema[];
  anyOf?: Schema[];
  oneOf?: Schema[];
};

function typeOf(schema: Schema): string {
  if (schema.enum) return schema.enum.map((one) => `\`${String(one)}\``).join(' ');
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return [...new Set(branches.map(typeOf))].join(' or ');
  if (schema.type === 'array') return 'list';
  return schema.type ?? 'value';
}

function rows(schema: Schema, path: string): string[] {
  const lines: string[] = [];
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    const at = path === '' ? key : `${path}.${key}`;
    const fallback = child.default === undefined ? '' : `\`${JSON.stringify(child.default)}\``;
    const text = (child.description ?? '').replaceAll('|', '\\|');
    lines.push(`| \`${at}\` | ${typeOf(child)} | ${fallback} | ${text} |`, ...rows(child, at));
  }
  if (typeof schema.additionalProperties === 'object') {
    lines.push(...rows(schema.additionalProperties, `${path}.<name>`));
  }
  const items = Array.isArray(schema.items) ? [] : schema.items ? [schema.items] : [];
  for (const item of items) lines.push(...rows(item, `${path}[]`));
  for (const branch of [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])])
    lines.push(...rows(branch, path));
  return lines;
}

/** The reference of every key, from the JSON Schema. */
export function configReference(schema: unknown): string {
  // exempt(as): a JSON Schema made by zod; the fields read here are all optional.
  const lines = [...new Set(rows(schema as Schema, ''))];
  return `# Configuration\n\n| key | type | default | meaning |\n|---|---|---|---|\n${lines.join('\n')}\n`;
}

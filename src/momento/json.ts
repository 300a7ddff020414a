/** JSON that goes back as it came. */

// ES2026 (stage 3 "JSON.parse source text access", in V8 since Node 21), not yet in TypeScript's library.
declare global {
  interface JSON {
    parse(
      text: string,
      reviver: (key: string, value: unknown, context: { source: string }) => unknown,
    ): unknown;
    rawJSON(text: string): unknown;
    isRawJSON(value: unknown): value is { readonly rawJSON: string };
  }
}

export type Fields = Readonly<Partial<Record<string, unknown>>>;

/**
 * Parses JSON. A number that JavaScript would write differently (a large id, say) is kept as its text.
 *
 * @throws SyntaxError whose message may quote the text
 */
export function parseJson(text: string): unknown {
  return JSON.parse(text, (_key, value, { source }) =>
    typeof value === 'number' && String(value) !== source ? JSON.rawJSON(source) : value,
  );
}

export function isObject(value: unknown): value is Fields {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
  );
}

/** The number that a parsed value stands for. */
export function asNumber(value: unknown): number | undefined {
  if (JSON.isRawJSON(value)) return Number(value.rawJSON);
  return typeof value === 'number' ? value : undefined;
}

/** The fields with others in their places. A field that is undefined is taken out. */
export function replaceFields(fields: Fields, changes: Fields): Fields {
  const entries = Object.entries({ ...fields, ...changes });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** The longest piece of a secret that may be written anywhere. */
const HARMLESS_LENGTH = 6;

/**
 * Finds pieces of secrets in texts: as they are, percent-encoded, JSON-escaped, as bytes in hex or decimal (which is how
 * a buffer prints), and in base64.
 *
 * @returns one line for each text and form that leaks, which says where, and quotes nothing
 */
export function leaks(secrets: Iterable<string>, texts: Iterable<string>): string[] {
  const pieces = new Map<string, number>();
  [...secrets].forEach((secret, index) => {
    for (const piece of piecesOf(secret)) pieces.set(piece, index);
  });
  return [...texts].flatMap((text, textIndex) =>
    Object.entries(READINGS).flatMap(([form, read]) => {
      const leaked = new Set(read(text).flatMap((view) => secretsIn(view, pieces)));
      return leaked.size === 0
        ? []
        : [`text ${textIndex} (${form}) holds pieces of secret ${[...leaked].join(', ')}`];
    }),
  );
}

const READINGS: Readonly<Record<string, (text: string) => string[]>> = {
  plain: (text) => [text],
  'percent-encoded': (text) => [
    text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
      Buffer.from(hex, 'hex').toString('latin1'),
    ),
  ],
  'JSON-escaped': (text) => [
    text.replace(/\\u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
  ],
  hex: (text) =>
    runs(/(?:[0-9a-f]{2}\s?){7,}/gi, text).map((run) =>
      Buffer.from(run.replace(/\s/g, ''), 'hex').toString('latin1'),
    ),
  decimal: (text) =>
    runs(/(?:\d{1,3},\s*){6,}\d{1,3}/g, text).map((run) =>
      Buffer.from(run.split(',').map(Number)).toString('latin1'),
    ),
  // What precedes the encoded part may look like base64 too, so each of the four alignments is tried.
  base64: (text) =>
    runs(/[\w+/-]{10,}/g, text).flatMap((run) =>
      [0, 1, 2, 3].map((skip) => Buffer.from(run.slice(skip), 'base64').toString('latin1')),
    ),
};

function runs(pattern: RegExp, text: string): string[] {
  return text.match(pattern) ?? [];
}

function secretsIn(text: string, pieces: ReadonlyMap<string, number>): number[] {
  const found: number[] = [];
  for (const piece of piecesOf(text)) {
    const index = pieces.get(piece);
    if (index !== undefined) found.push(index);
  }
  return found;
}

/** Every part of a text that is just too long to be written. */
function* piecesOf(text: string): Generator<string> {
  const length = HARMLESS_LENGTH + 1;
  for (let end = length; end <= text.length; end += 1) yield text.slice(end - length, end);
}

/** The longest piece of a secret that doesn't count as a leak. */
const HARMLESS_LENGTH = 6;

/**
 * Finds pieces of secrets in texts, also in other encodings: percent-encoded, JSON-escaped, as bytes in hex or decimal, and
 * in base64. Debug output of libraries contains all of them.
 *
 * @returns one line for each leaking text and encoding. No line quotes a secret
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
        : [`text ${textIndex} (${form}) contains pieces of secret ${[...leaked].join(', ')}`];
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
  // As one number or byte by byte, as in `7b226b`, `<Buffer 7b 22>`, `7b:22`, `0x7b, 0x22` and `\x7b\x22`. A digit that
  // belongs to something else can come first, so both alignments are tried.
  hex: (text) =>
    runs(/(?:(?:0x|\\x)?[0-9a-f]{1,2}[\s:,-]{0,8}){7,}/gi, text).flatMap((run) => {
      const digits = run.replace(/0x|\\x|[^0-9a-f]/gi, '');
      return [0, 1].map((skip) => Buffer.from(digits.slice(skip), 'hex').toString('latin1'));
    }),
  // As a list, as in `[ 123, 34 ]`, or as an object, as in `{"0":123,"1":34}`.
  decimal: (text) =>
    [text, text.replace(/["']?\b\d+["']?:\s*(?=\d)/g, '')].flatMap((view) =>
      runs(/(?:\d{1,3}[,\s]\s*){6,}\d{1,3}/g, view).map((run) =>
        Buffer.from(run.split(/[,\s]+/).map(Number)).toString('latin1'),
      ),
    ),
  // Text before the encoded part can look like base64 too, so all four alignments are tried.
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

/** All pieces of a text with the shortest length that counts as a leak. */
function* piecesOf(text: string): Generator<string> {
  const length = HARMLESS_LENGTH + 1;
  for (let end = length; end <= text.length; end += 1) yield text.slice(end - length, end);
}

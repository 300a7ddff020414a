import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { leaks } from '../leaks';

const SECRET = randomBytes(24).toString('base64url');
const PIECE = SECRET.slice(11, 18);

describe('the search for leaks', () => {
  it.each<[string, string]>([
    ['the whole secret', `key=${SECRET}`],
    ['a piece of seven characters', `key=${PIECE}...`],
    ['a percent-encoded piece', `?key=${encodeURIComponent(`"${PIECE}"`)}`],
    ['a piece with every character percent-encoded', percentEncoded(PIECE)],
    ['a piece with escaped characters', `\\u${hexCode(PIECE)}${PIECE.slice(1)}`],
    ['a printed buffer', inspect(Buffer.from(PIECE))],
    ['a buffer in JSON', JSON.stringify(Buffer.from(PIECE))],
    ['hex', Buffer.from(PIECE).toString('hex')],
    ['a printed byte array', inspect(new Uint8Array(Buffer.from(`{"apiKey":"${SECRET}"}`)))],
    ['a byte array in JSON', JSON.stringify(new Uint8Array(Buffer.from(PIECE)))],
    [
      'a byte array as a printed object',
      inspect(Object.fromEntries([...Buffer.from(PIECE)].entries())),
    ],
    ['bytes with spaces between them', [...Buffer.from(PIECE)].join(' ')],
    [
      'hex in upper case after another digit',
      `a${Buffer.from(PIECE).toString('hex').toUpperCase()}`,
    ],
    ['hex with colons', bytesInHex(PIECE).join(':')],
    [
      'hex bytes of C',
      bytesInHex(PIECE)
        .map((byte) => `0x${byte}`)
        .join(', '),
    ],
    [
      'escaped hex bytes',
      bytesInHex(PIECE)
        .map((byte) => `\\x${byte}`)
        .join(''),
    ],
    [
      'hex in lines',
      bytesInHex(SECRET)
        .join(' ')
        .replace(/(.{23}) /g, '$1\n'),
    ],
    ['base64 in lines', base64(`${SECRET}${SECRET}`).replace(/(.{32})/g, '$1\r\n')],
    ['base64 of a header', `Basic ${base64(`user:${SECRET}`)}`],
    ['base64url', Buffer.from(`??>>${SECRET}`).toString('base64url')],
    ['base64', `stack/${base64(SECRET)}`],
    ['base64, shifted by one byte', `stack/${base64(`x${SECRET}`)}`],
    ['base64, shifted by two bytes', `stack/${base64(`xx${SECRET}`)}`],
  ])('finds %s', (_, text) => {
    expect(leaks(['another secret', SECRET], ['harmless', text])).toContainEqual(
      expect.stringMatching(/^text 1 \(.+\) contains pieces of secret 1$/),
    );
  });

  it('returns the place, and quotes nothing', () => {
    const found = leaks([SECRET], [`${SECRET} ${percentEncoded(SECRET)}`]);
    expect(found).toEqual([
      'text 0 (plain) contains pieces of secret 0',
      'text 0 (percent-encoded) contains pieces of secret 0',
      'text 0 (JSON-escaped) contains pieces of secret 0',
    ]);
  });

  it('finds nothing when only six characters of a secret are there', () => {
    expect(leaks([SECRET], [PIECE.slice(1), Buffer.from(PIECE.slice(1)).toString('hex')])).toEqual(
      [],
    );
  });
});

function percentEncoded(text: string): string {
  return Buffer.from(text).toString('hex').replace(/../g, '%$&');
}

function bytesInHex(text: string): string[] {
  return [...Buffer.from(text)].map((byte) => byte.toString(16));
}

function hexCode(text: string): string {
  return text.charCodeAt(0).toString(16).padStart(4, '0');
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { leaks } from '../leaks';

const SECRET = randomBytes(24).toString('base64url');
const PIECE = SECRET.slice(11, 18);
const BYTES = Buffer.from(PIECE);

/** The bytes of a piece as a list of numbers or of hexadecimal digits. */
const list = (separator: string, format = (byte: number): string => hex(byte)): string =>
  [...BYTES].map(format).join(separator);
const hex = (byte: number): string => byte.toString(16);
const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('the search for leaks', () => {
  it.each<[string, string]>([
    ['the whole secret', `key=${SECRET}`],
    ['a piece of seven characters', `key=${PIECE}...`],
    ['a percent-encoded piece', `?key=${encodeURIComponent(`"${PIECE}"`)}`],
    ['a piece with every character percent-encoded', `%${list('%')}`],
    ['a piece with escaped characters', `\\u00${hex(BYTES[0] ?? 0)}${PIECE.slice(1)}`],
    ['a printed buffer', inspect(BYTES)],
    ['a buffer in JSON', JSON.stringify(BYTES)],
    ['a printed byte array', inspect(new Uint8Array(Buffer.from(`{"apiKey":"${SECRET}"}`)))],
    ['a byte array in JSON', JSON.stringify(new Uint8Array(BYTES))],
    ['a byte array as a printed object', inspect(Object.fromEntries([...BYTES].entries()))],
    ['bytes with spaces between them', list(' ', String)],
    ['hex', BYTES.toString('hex')],
    ['hex in upper case after another digit', `a${BYTES.toString('hex').toUpperCase()}`],
    ['hex with colons', list(':')],
    ['hex bytes of C', list(', ', (byte) => `0x${hex(byte)}`)],
    ['escaped hex bytes', list('', (byte) => `\\x${hex(byte)}`)],
    ['hex in lines', list(' ').replace(/(.{11}) /, '$1\n')],
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
    const found = leaks(
      [SECRET],
      [
        `${SECRET} %${Buffer.from(SECRET)
          .toString('hex')
          .replace(/..(?=.)/g, '$&%')}`,
      ],
    );
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

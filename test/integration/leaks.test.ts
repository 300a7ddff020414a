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
    ['base64', `stack/${base64(SECRET)}`],
    ['base64, shifted by one byte', `stack/${base64(`x${SECRET}`)}`],
    ['base64, shifted by two bytes', `stack/${base64(`xx${SECRET}`)}`],
  ])('finds %s', (_, text) => {
    expect(leaks(['another secret', SECRET], ['harmless', text])).toContainEqual(
      expect.stringMatching(/^text 1 \(.+\) holds pieces of secret 1$/),
    );
  });

  it('tells where without quoting', () => {
    const found = leaks([SECRET], [`${SECRET} ${percentEncoded(SECRET)}`]);
    expect(found).toEqual([
      'text 0 (plain) holds pieces of secret 0',
      'text 0 (percent-encoded) holds pieces of secret 0',
      'text 0 (JSON-escaped) holds pieces of secret 0',
    ]);
  });

  it('lets six characters pass', () => {
    expect(leaks([SECRET], [PIECE.slice(1), Buffer.from(PIECE.slice(1)).toString('hex')])).toEqual(
      [],
    );
  });
});

function percentEncoded(text: string): string {
  return Buffer.from(text).toString('hex').replace(/../g, '%$&');
}

function hexCode(text: string): string {
  return text.charCodeAt(0).toString(16).padStart(4, '0');
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

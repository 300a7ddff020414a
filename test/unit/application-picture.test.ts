import { dirname, resolve } from 'node:path';
import { rmSync } from 'node:fs';
import { draw, pictureFile } from '../../tools/application-picture';

function count(picture: string, kind: string): number {
  return picture.split(`class="${kind}"`).length - 1;
}

test('the picture shows every key, every swap and every failure', () => {
  const swapped = { from: 5000, until: 10_000 };
  const picture = draw({
    endedAt: 10_000,
    requests: [0, 100, 3000, 9999, 10_000].map((at) => ({ at, failed: at === 3000 })),
    keys: [
      { name: 'version 1', issuedAt: 0, used: { from: 0, until: 5000 }, revokedAt: 8000 },
      { name: 'version 2', issuedAt: 4000, used: swapped, revokedAt: undefined },
      { name: 'version 3', issuedAt: 9000, used: undefined, revokedAt: undefined },
    ],
  });
  const kinds = ['request', 'failure', 'good', 'used', 'end', 'swap'];
  const counted = Object.fromEntries(kinds.map((kind) => [kind, count(picture, kind)]));
  expect(counted).toEqual({ request: 3, failure: 1, good: 3, used: 2, end: 1, swap: 1 });
  expect(picture).toContain('1 failed');
  expect(picture).not.toMatch(/NaN|undefined|"-\d/);
});

test('the picture of the README is replaced only with --write', () => {
  const shown = resolve(__dirname, '../../docs/images/application.svg');
  expect(pictureFile(['--write'])).toBe(shown);
  const file = pictureFile([]);
  expect(file).toMatch(/application\.svg$/);
  expect(file).not.toBe(shown);
  rmSync(dirname(file), { recursive: true });
});

/** Checked by tsc: `use` refuses calls whose return value would lose the SDK's error. Nothing here runs. */
import { CacheGet, type CacheClient } from '@gomomento/sdk';
import type { RotatingCacheClient } from '../../packages/momento-rotating-client/src/index';

declare const client: RotatingCacheClient;

const get = (momento: CacheClient): Promise<CacheGet.Response> => momento.get('cache', 'item');

export const accepted = [
  client.use(get),
  client.use((momento) => momento.set('cache', 'item', 'value')),
  client.use(async (momento) => {
    const answer = await momento.listCaches();
    return answer;
  }),
];

export const refused = [
  // @ts-expect-error -- a string has lost the error
  client.use(async (momento) => (await get(momento)).toString()),
  // @ts-expect-error -- an object around the answer hides the error
  client.use(async (momento) => ({ answer: await get(momento) })),
  // @ts-expect-error -- an object with a type isn't an answer of the SDK
  client.use(async (momento) => ({ type: 'wrapped', answer: await get(momento) })),
  // @ts-expect-error -- several answers in an array hide their errors
  client.use((momento) => Promise.all([get(momento), get(momento)])),
  // @ts-expect-error -- a hit without the other members of the union has lost the error
  client.use(async (momento) => {
    const answer = await get(momento);
    if (answer instanceof CacheGet.Hit) return answer;
    throw new Error('no item');
  }),
  // @ts-expect-error -- undefined has lost the error
  client.use(async (momento) => {
    await get(momento);
  }),
];

import { mapConcurrently } from '../../src/concurrency';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test.each([
  [0, 0],
  [3, 3],
  [9, 4],
])('of %d calls, %d are under way at a time, and results keep their order', async (count, most) => {
  const items = Array.from({ length: count }, (_, i) => i);
  let active = 0;
  let seen = 0;
  const doubled = await mapConcurrently(4, items, async (item) => {
    seen = Math.max(seen, ++active);
    // The first takes longest.
    for (let turns = count - item; turns > 0; turns--) await turn();
    active--;
    return item * 2;
  });
  expect(doubled).toEqual(items.map((item) => item * 2));
  expect(seen).toBe(most);
});

test('a failure is a failure of all', async () => {
  const call = (item: number) =>
    item === 2 ? Promise.reject(new Error('no')) : Promise.resolve(item);
  await expect(mapConcurrently(2, [1, 2, 3], call)).rejects.toThrow('no');
});

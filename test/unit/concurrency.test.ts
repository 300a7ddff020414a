import { mapConcurrently } from '../../src/concurrency';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test.each([
  [0, 0],
  [3, 3],
  [9, 4],
])('of %d calls makes %d at the same time, and keeps the order of results', async (count, most) => {
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

test('fails when a call fails, and begins no further call', async () => {
  const begun: number[] = [];
  const call = async (item: number) => {
    begun.push(item);
    await turn();
    if (item === 2) throw new Error('no');
  };
  await expect(mapConcurrently(2, [1, 2, 3, 4, 5, 6], call)).rejects.toThrow('no');
  for (let turns = 0; turns < 10; turns++) await turn();
  // The other worker had begun 3 when 2 failed.
  expect(begun).toEqual([1, 2, 3]);
});

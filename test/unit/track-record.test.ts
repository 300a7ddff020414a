import { campaignBlock, readPage, withBlock, withFigures } from '../../tools/track-record';

test('the page has the figures of the last campaign: if not, npm run track-record', () => {
  expect(withFigures(readPage())).toBe(readPage());
});

const RESULTS = `# Results

The last run, on 2027-01-02 with Node 24.9.9, 2 cores.

| group | what             | cases | did not survive | seconds |
| ----- | ---------------- | ----: | --------------: | ------: |
| calls | each with a flaw | 2,592 |               0 |      60 |
| races | two at once      |     8 |               1 |      29 |
| all   |                  | 2,600 |               1 |      90 |

- races: a note
`;

test('what did not survive is told as well', () => {
  expect(campaignBlock(RESULTS).split('\n')).toEqual([
    'On 2027-01-02, with Node 24.9.9:',
    '',
    '| tried | group | cases | did not survive |',
    '|---|---|--:|--:|',
    '| each with a flaw | `calls` | 2,592 | 0 |',
    '| two at once | `races` | 8 | 1 |',
    '| **all** | | **2,600** | **1** |',
  ]);
});

test.each([
  ['without a day', RESULTS.replace('2027-01-02', 'some day')],
  ['without a sum', RESULTS.replace(/^\| all.*\n/m, '')],
  ['with other columns', RESULTS.replace('| cases', '| tries')],
])('results %s are not guessed at', (_name, results) => {
  expect(() => campaignBlock(results)).toThrow('not as the campaign writes it');
});

test('a block is replaced, and nothing else', () => {
  const page = 'before\n<!-- x -->\nold\n<!-- /x -->\nafter <!-- y -->\n';
  expect(withBlock(page, 'x', 'new')).toBe(page.replace('old', 'new'));
  expect(() => withBlock(page, 'y', 'new')).toThrow('no place for y');
});

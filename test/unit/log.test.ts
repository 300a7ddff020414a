import { stackFrames, writeLog } from '../../src/log';

test('writes an entry as one line of JSON to standard output', () => {
  const write = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
  const entry = { severity: 'INFO', message: 'first\nsecond', event: 'rotation' } as const;
  let lines: string[];
  try {
    writeLog({ ...entry, 'logging.googleapis.com/trace': 't', absent: undefined });
    lines = write.mock.calls.map(([text]) => text as string);
  } finally {
    write.mockRestore();
  }
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^[^\n]+\n$/);
  expect(JSON.parse(lines[0] ?? '')).toEqual({ ...entry, 'logging.googleapis.com/trace': 't' });
});

describe('stackFrames', () => {
  test('contains the stack of an error, without its message', () => {
    const frames = stackFrames(new Error('planted\nsecret')) ?? [];
    expect(frames[0]).toContain('log.test');
    expect(frames.join('\n')).not.toMatch(/planted|secret/);
  });

  test.each([['a text'], [undefined], [{ stack: '   at planted' }]])(
    'returns nothing for %j',
    (thrown) => {
      expect(stackFrames(thrown)).toBeUndefined();
    },
  );
});

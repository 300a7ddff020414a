import { parseSecrets } from '../../../src/config/secrets';
import { DAY, HOUR, secretName } from '../support';

const NAME = 'projects/p/secrets/s';
const OTHER = 'projects/p/locations/eu/secrets/t';

function parse(value: unknown) {
  const problems: string[] = [];
  const secrets = parseSecrets(typeof value === 'string' ? value : JSON.stringify(value), problems);
  return { secrets, problems };
}

describe('SECRETS', () => {
  const plain = { ...secretName(NAME), payload: 'json' };
  const other = { ...secretName(OTHER), payload: 'json' };

  test.each<[string, unknown, object[]]>([
    ['one name', NAME, [plain]],
    ['names with commas between them', ` ${NAME} ,, ${OTHER},`, [plain, other]],
    ['a list of names', [NAME, OTHER], [plain, other]],
    ['a list with white space before it', `\n [ "${NAME}" ] `, [plain]],
    ['an object', [{ name: NAME }], [plain]],
    ['names and objects', [OTHER, { name: NAME }], [other, plain]],
    [
      'all that an object may say',
      [{ name: NAME, role: 'r-viewer', lifetime: '30d', payload: 'key' }],
      [{ ...plain, role: 'r-viewer', lifetimeMs: 30 * DAY, payload: 'key' }],
    ],
    ['any duration', [{ name: NAME, lifetime: '36h' }], [{ ...plain, lifetimeMs: 36 * HOUR }]],
  ])('as %s', (_name, value, secrets) => {
    expect(parse(value)).toEqual({ secrets, problems: [] });
  });

  const shape =
    'entry 1 of SECRETS: it must be a name, or an object with name, and with role, lifetime and payload';
  const fullName =
    'is not a full name, projects/PROJECT/secrets/SECRET or projects/PROJECT/locations';
  const entry = (fields: object) => [{ name: NAME, ...fields }];

  test.each<[string, unknown, string[]]>([
    ['nothing', '', ['SECRETS must name at least one secret']],
    ['an empty list', '[]', ['SECRETS must name at least one secret']],
    ['half a list', '[', ['SECRETS begins like a JSON list and is none']],
    ['what is no JSON', `['${NAME}']`, ['SECRETS begins like a JSON list and is none']],
    ['an object without a list', { name: NAME }, [fullName]],
    ['a short name', 'momento', [`entry 1 of SECRETS: it ${fullName}`]],
    ['another wrong name', `${NAME},,projects/p/secret/t`, [`entry 2 of SECRETS: it ${fullName}`]],
    ['a version', `${NAME}/versions/latest`, [`entry 1 of SECRETS: it ${fullName}`]],
    ['a name twice', `${NAME}, ${NAME}`, ['SECRETS names a secret more than once']],
    [
      'a name twice, in both forms',
      [NAME, { name: NAME }],
      ['SECRETS names a secret more than once'],
    ],
    ['null', [null], [shape]],
    ['a number', [7], [shape]],
    ['a list in the list', [[NAME]], [shape]],
    ['a misspelt field', [{ nmae: NAME }], [shape]],
    ['no name', [{ role: 'r' }], [shape]],
    ['an unknown field', entry({ expiry: '30d' }), [shape]],
    ['a field that all objects have', entry({ toString: 1 }), [shape]],
    ['a name that is no text', [{ name: 7 }], ['entry 1 of SECRETS: name must be text']],
    ['a role that is no text', entry({ role: null }), ['entry 1 of SECRETS: role must be text']],
    [
      'an empty role',
      entry({ role: '' }),
      ['entry 1 of SECRETS: role must be the id of a role, such as r-viewer'],
    ],
    [
      'a role of two lines',
      entry({ role: 'r-a\nb' }),
      ['entry 1 of SECRETS: role must be the id of a role'],
    ],
    [
      'a role that is too long',
      entry({ role: 'r'.repeat(101) }),
      ['role must be the id of a role'],
    ],
    [
      'a lifetime in numbers',
      entry({ lifetime: 30 }),
      ['entry 1 of SECRETS: lifetime must be text'],
    ],
    [
      'a lifetime without a unit',
      entry({ lifetime: '30' }),
      ['lifetime must be a whole number with a unit'],
    ],
    ['no lifetime at all', entry({ lifetime: '0d' }), ['lifetime must be more than 0']],
    [
      'another form',
      entry({ payload: 'yaml' }),
      ['entry 1 of SECRETS: payload must be json or key'],
    ],
    [
      'all of that at once',
      [{ name: NAME, role: 1, lifetime: '', payload: 1 }, 'x'],
      ['role must be', 'lifetime must be', 'payload must be', 'entry 2 of SECRETS: it is not'],
    ],
  ])('not as %s', (_name, value, expected) => {
    expect(parse(value).problems).toEqual(
      expected.map((part) => expect.stringContaining(part) as string),
    );
  });

  test('no problem quotes what is there: it may be a secret in the wrong variable', () => {
    const planted = 'pLanted';
    const values: unknown[] = [
      planted,
      `["${planted}`,
      [
        planted,
        { [planted]: 1 },
        { name: planted, role: `${planted} `, lifetime: planted, payload: planted },
      ],
      [{ name: { planted }, role: [planted], lifetime: { planted }, payload: [planted] }],
    ];
    const problems = values.flatMap((value) => parse(value).problems);
    expect(problems.length).toBeGreaterThan(8);
    expect(problems.join()).not.toContain(planted);
  });
});

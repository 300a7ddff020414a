import { parseSecretName } from '../../src/secret-name';

const NAME = 'projects/p/secrets/s';
const longest = 'x'.repeat(255);

test.each([
  [NAME, { project: 'p', id: 's' }],
  ['projects/123/secrets/My-Key_2', { project: '123', id: 'My-Key_2' }],
  ['projects/example.com:a-1/secrets/s', { project: 'example.com:a-1', id: 's' }],
  [
    'projects/p/locations/europe-west1/secrets/s',
    { project: 'p', location: 'europe-west1', id: 's' },
  ],
  [`projects/p/secrets/${longest}`, { project: 'p', id: longest }],
])('%s', (name, parts) => {
  expect(parseSecretName(name)).toEqual({ name, ...parts });
});

test.each([
  ...['', 's', 'secrets/s', 'projects/p/secrets/', 'projects//secrets/s', ` ${NAME}`],
  ...[`${NAME}/`, `${NAME}/versions/1`, `${NAME}\n`, `/${NAME}`, 'projects/P/secrets/s'],
  ...['projects/p/secrets/a.b', 'projects/p/secrets/a/b', 'projects/p/locations/secrets/s'],
  ...['projects/p/locations//secrets/s', 'projects/p/locations/EU/secrets/s'],
  `projects/p/secrets/${longest}x`,
])('%j is none', (name) => {
  expect(parseSecretName(name)).toBeUndefined();
});

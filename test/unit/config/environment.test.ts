import { parseConfig } from '../../../src/config/config';
import { unsafeSettings } from '../../../src/config/variables';

test.each<[string, string[]]>([
  ['GOOGLE_SDK_NODE_LOGGING', ['all', '*', 'secretmanager', 'nonsense', '0']],
  [
    'NODE_DEBUG',
    [
      ...['https', 'net', 'stream', '*', 'htt*', 'http*', '*s', 'HTTPS', 'NET', 'http'],
      ...['tls,net', 'net,tls', 'tls, stream', 'tls*', 'tls,', 'unknown', 'tls net', 'h?ttps'],
    ],
  ],
  ['GRPC_TRACE', ['all', 'subchannel', 'channel']],
  ['GRPC_NODE_TRACE', ['all']],
  ['DEBUG', ['*', 'https-proxy-agent', 'express:*', 'http*', 'a,https-proxy-agent']],
  ['NODE_OPTIONS', ['--tls-keylog=/tmp/f', '--max-old-space-size=192 --tls_keylog /tmp/f']],
  ['NODE_TLS_REJECT_UNAUTHORIZED', ['0', ' 0 ']],
])('refuses to start with %s, and names it', (name, values) => {
  for (const value of values) {
    const [problem, ...others] = unsafeSettings({ [name]: value });
    expect([value, problem, others]).toEqual([
      value,
      expect.stringMatching(new RegExp(`^${name} must .*[^.]$`)),
      [],
    ]);
    expect(() => parseConfig({ SECRETS: 'projects/p/secrets/s', [name]: value })).toThrow(problem);
  }
});

test.each<[string, string[]]>([
  ['GOOGLE_SDK_NODE_LOGGING', ['', ' ']],
  ['NODE_DEBUG', ['', 'tls', 'TLS', 'tls, http2', 'esm,module,source_map,timer,worker']],
  ['GRPC_TRACE', ['']],
  ['GRPC_VERBOSITY', ['DEBUG']],
  ['DEBUG', ['', 'express:router', 'body-parser:json']],
  ['NODE_OPTIONS', ['--max-semi-space-size=4 --max-old-space-size=192']],
  ['NODE_TLS_REJECT_UNAUTHORIZED', ['', '1']],
  ['NODE_EXTRA_CA_CERTS', ['/etc/ca.pem']],
])('starts with a harmless %s', (name, values) => {
  expect(values.map((value) => unsafeSettings({ [name]: value }))).toEqual(values.map(() => []));
});

test('lists all of them together', () => {
  const problems = unsafeSettings({ NODE_DEBUG: 'net', DEBUG: '*', GRPC_TRACE: 'all' });
  expect(problems.map((problem) => problem.split(' ')[0])).toEqual([
    'NODE_DEBUG',
    'GRPC_TRACE',
    'DEBUG',
  ]);
});

/** Makes the first v1 key of a secret, with a super user key. Momento has deprecated v1 keys. */
import { firstKey } from './first-key/run';
import { normalizeProxyEnvironment } from '../src/proxy';

normalizeProxyEnvironment();

void firstKey(process.argv.slice(2), process.env, process).then((code) => {
  process.exitCode = code;
});

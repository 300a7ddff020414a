/** Checks every assumption that the rotator makes about Momento and Secret Manager. */
import { conformance } from './conformance/run';
import { normalizeProxyEnvironment } from '../src/proxy';

normalizeProxyEnvironment();

const interruption = new AbortController();
// After Ctrl-C the test still removes the resources that it created. A second Ctrl-C ends it at once.
process.once('SIGINT', () => interruption.abort());

void conformance(process.argv.slice(2), process.env, process, interruption).then((code) => {
  process.exitCode = code;
});

/** Checks every assumption that the rotator makes about Momento and Secret Manager. */
import { conformance } from './conformance/run';
import { normalizeProxyEnvironment } from '../src/proxy';

normalizeProxyEnvironment();

const interruption = new AbortController();
// What was made is still removed; a second Ctrl-C ends it at once.
process.once('SIGINT', () => interruption.abort());

void conformance(process.argv.slice(2), process.env, process, interruption).then((code) => {
  process.exitCode = code;
});

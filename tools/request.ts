/** Publishes an operator request, and shows its result. */
import { sendRequest } from './request/run';

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => interruption.abort());
}

void sendRequest(process.argv.slice(2), process.env, process, interruption).then((code) => {
  process.exitCode = code;
});

/** The scores of a campaign as text. */
import { availableParallelism, loadavg } from 'node:os';
import type { Score } from './campaign';

/** A table in Markdown, which is as well read on a terminal. */
export function table(scores: readonly Score[], seconds: number): string {
  const tried = scores.reduce((sum, score) => sum + score.tried, 0);
  const failed = scores.reduce((sum, score) => sum + score.failed, 0);
  const rows = [
    ['group', 'what', 'cases', 'did not survive', 'seconds'],
    ...scores.map((score) => [
      score.group,
      score.title,
      score.tried.toLocaleString('en'),
      String(score.failed),
      score.seconds.toFixed(0),
    ]),
    ['all', '', tried.toLocaleString('en'), String(failed), seconds.toFixed(0)],
  ];
  const widths = [0, 1, 2, 3, 4].map((column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  const isNumber = (column: number) => column > 1;
  const line = (row: readonly string[]) =>
    `| ${row
      .map((cell, column) =>
        isNumber(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join(' | ')} |`;
  const rule = `| ${widths
    .map((width, column) => (isNumber(column) ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)))
    .join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [line(head), rule, ...body.map(line)].join('\n');
}

/** RESULTS.md. */
export function resultsPage(scores: readonly Score[], seconds: number, jobs: number): string {
  const notes = scores.flatMap((score) => score.notes.map((note) => `- ${score.group}: ${note}`));
  return `# What was tried, and what survived

The last full run of the fault campaign, on ${new Date().toISOString().slice(0, 10)} with Node ${process.versions.node}, ${availableParallelism()} cores and
${jobs} processes, at a load of ${(loadavg()[2] ?? 0).toFixed(1)} (the campaign alone makes one of ${jobs}). To repeat it:

\`\`\`sh
npm run faults
\`\`\`

With \`-- --write\` it writes this page anew. One case is repeated with \`-- --only=GROUP --case='NAME'\`; whatever does not survive is
printed with that command. \`npm test\` runs a small part of each group.

${table(scores, seconds)}

${notes.join('\n')}

Groups are played at the same time in ${jobs} processes, so their times do not add up. \`hangs\` and \`endurance\` are
played beside all others.

## What is judged

After every single change of state in any of the services, over the real clients and real sockets ([invariants.ts](invariants.ts)):

1. A reader of \`latest\` gets an enabled version whose key Momento accepts.
2. The newest version is never disabled or destroyed.
3. No version that a person added is disabled by a run that had looked at the secret before it was there.
4. When faults stop, one more run ends with exactly one enabled version beside those in their grace period, the newest, whose key
   works and can be renewed. If a single-use refresh token's answer was lost for good, that run says so, with the right code, and
   readers keep a working key.
5. Nothing secret is written anywhere (keys, refresh tokens, the management key, what else a payload holds), also not a piece of
   seven characters, nor encoded.
6. Every run ends with an answer, before the function's timeout.
7. No enabled version holds a key that the rotator revoked ([key-invariants.ts](key-invariants.ts)).
8. Nothing of another secret or of a person is revoked: only keys with exactly the secret's own description. There are always keys
   around with nearly the same one, old enough to be taken for orphans.
9. When faults stop, two runs, the second after an hour and the grace period, leave one key of ours for each enabled version, and
   no other.
10. No version is disabled by a run before its grace period is over.

7 has one excuse, because no service offers to look at a version and to end a key in one step: a person enabled or added that very
version after the run's last look at its number, so in the moment between that look and the revocation.

That the judge can find each of these broken is proved by rotations that are broken on purpose
([faults.test.ts](faults.test.ts), [judge-v2.test.ts](judge-v2.test.ts)).

## How it is tried

- **calls, hangs**: each of the nine calls of a rotation that also disables and destroys, with all sixteen gRPC error codes before and
  after its effect, the connection reset before and after, a corrupted answer, a slow one, none at all; each once and persistently; with
  reusable and with single-use refresh tokens, in the same process and in a new one, and as Cloud Scheduler's repeat.
- **pairs, pairs-in-one-run**: of the faults that the function can tell apart, every pair over two runs, and every pair within one.
- **killed**: the function in its own process, with SIGKILL and SIGTERM at every call, before and after its effect.
- **races**: two runs, each with its own memory, clients and connections; every order of their calls, where orders that differ only
  in neighbouring calls that do not touch each other count as one. Besides, two real processes without control over their order, and
  fifty duplicates of one request.
- **person**: fifteen things that a person may do, before and after every call.
- **time**: expiry at every call, clocks five minutes apart, lists and \`latest\` up to four changes old, new keys that are unknown for
  up to a minute, delayed destruction, grace periods, calls that take as long as they may.
- **input**: property-based, with a fixed seed.
- **v2-calls, v2-hangs**: a v2 key that is refreshed, one that is minted by configured terms, one by what Momento's list tells, a first
  key; each call of the key API with twelve HTTP statuses (429 with Retry-After) and a proxy's HTML before and after its effect, the
  connection cut before and after, a slow answer, half of one, one that is no JSON, another one, none; each call of Secret Manager with
  one of each class; once and persistently, and as Cloud Scheduler's repeat. A minted key's run disables, destroys, and revokes four keys.
- **v2-pairs, v2-pairs-in-one-run**: every pair of one fault of each class, of which at least one strikes the key API.
- **v2-killed, v2-races, v2-person**: as for v1 keys. Refreshing runs in every order of their calls; there are too many for minting runs, of
  which 1,600 are drawn. People besides put old payloads back, revoke keys at the console, and disable, replace
  and revoke the management key.
- **random**: 20,000 schedules of two to four runs with three to six faults, drawn from a seed: v1 and v2 keys in every form, with and
  without grace, rotated always or when due; minutes to days between runs, in which keys expire; new processes, two runs at once,
  people, lists and \`latest\` that lag, a management key that renews itself. \`-- --only=random --case='seed N'\` plays one again.
- **endurance**: memory after a full collection, at eighty points; its growth is the median of the slopes between all pairs
  of them (Theil-Sen), and more than 100 bytes for each rotation fail. Here not every change is judged: of the thousand secrets every fiftieth is watched, of
  the ten thousand rotations the answers, and what was written is searched in samples.

Waiting between tries is skipped, by a clock that the function is given; deadlines of calls are real.

## What cannot be guaranteed

- **A single-use refresh token whose answer is lost for good.** Whether Momento's tokens can be used twice is not documented. If they
  cannot, and a connection breaks, or the process is killed, between Momento's issuing and our storing, the successor is gone and no
  run can get another. The run says \`REFRESH_ANSWER_LOST\` (or, in a new process, \`REFRESH_REFUSED\`), readers keep a working key
  until it expires, and a person has to store a new one before.
- **A key that could not be stored or proved, if its instance ends.** It is kept in memory only; it must not be written elsewhere.
- **A false alarm.** With single-use tokens, a run in another process may report \`REFRESH_REFUSED\` while the run that was first takes
  longer than five seconds from issuing to adding. Nobody is harmed.
- **A newest version that a person disables** in the moment between adding and retiring: the older one may be disabled already. The
  next run says \`NO_ENABLED_VERSION\`, and the person has to enable the newest again.
- **Readers that see an old \`latest\` with new states.** Secret Manager's \`latest\` is eventually consistent. With no grace period, a
  reader whose view is minutes old could ask for a version that was just disabled. \`GRACE_PERIOD\` of some minutes prevents that.
- **A new key that nobody could prove.** When Momento does not answer the check, the key is added all the same, because it must not be
  lost; if it was still unknown somewhere, readers would be refused for that long. The old version stays enabled then. With
  \`VERIFY=false\` that holds for every rotation.
- **A key that a person puts back in the moment in which it is revoked.** Between a run's last look at a version and Momento's ending of
  a key, a person may enable or add a version that holds it. The run cannot see it, readers of that version are refused, and the
  next rotation heals \`latest\`.
- **Readers that see an old \`latest\` when its key is revoked.** The same lag as above, which is why \`REVOKE\` asks for a grace period of an
  hour at least.
- **A v2 refresh token whose answer is lost.** It works once, as documented: what is said of single-use tokens above holds for
  every v2 key that is refreshed. Minting has no such moment.
- **Services other than described.** The three services here are local ones that follow what is published, and where nothing is, the
  harsher reading.
`;
}

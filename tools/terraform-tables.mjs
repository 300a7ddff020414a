/**
 * Writes the tables of inputs and outputs into terraform/README.md, from variables.tf and outputs.tf. With --check it fails
 * if the tables differ.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const folder = resolve(import.meta.dirname, '../terraform');
const read = (file) => readFileSync(resolve(folder, file), 'utf8');

/** The top-level blocks of one kind: name and text. */
function blocks(file, kind) {
  const pattern = new RegExp(`^${kind} "([a-z_]+)" \\{\\n(.*?)^\\}`, 'gms');
  return [...read(file).matchAll(pattern)].map(([, name, text]) => ({ name, text }));
}

const table = (columns, rows) =>
  [columns, columns.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
const description = (text) => /description += "(.*)"$/m.exec(text)?.[1] ?? '';

/** Formats durations, shares and names of variables as code. */
const withCode = (text) => text.replaceAll(/\b\d+(?:[smhd]\b|%)|\b[a-z.]+(?:_[a-z]+)+/g, '`$&`');

function inputs() {
  const variables = blocks('variables.tf', 'variable');
  const rows = variables.map(({ name, text }) => [
    `\`${name}\``,
    description(text),
    `\`${/^ {2}type += ([a-z]+(\([a-z]+\))?)/m.exec(text)?.[1]}\``,
    /^ {2}default/m.test(text) ? `\`${/^ {2}default += (.*)$/m.exec(text)?.[1]}\`` : 'required',
  ]);
  const attributes = variables.flatMap(({ name, text }) => {
    const found = [...text.matchAll(/^ {4}([a-z_]+) += optional\((.*?)(?:\)|\{) +# (.*)$/gm)];
    return found.map(([, attribute, type, comment]) => {
      const value = /^[a-z]+(?:\([a-z]+\))?, (.*)$/.exec(type)?.[1];
      const [meaning, inWords] = comment.split('; default: ');
      return [
        `\`${name}.${attribute}\``,
        value === undefined ? withCode(inWords ?? 'unset') : `\`${value}\``,
        withCode(meaning),
      ];
    });
  });
  return `${table(['name', 'meaning', 'type', 'default'], rows)}\n\n${table(['attribute', 'default', 'meaning'], attributes)}`;
}

function outputs() {
  const rows = blocks('outputs.tf', 'output').map(({ name, text }) => [
    `\`${name}\``,
    description(text),
  ]);
  return table(['name', 'meaning'], rows);
}

const before = read('README.md');
let after = before;
for (const [name, text] of Object.entries({ inputs: inputs(), outputs: outputs() })) {
  const [start, end] = [
    `<!-- ${name}: node tools/terraform-tables.mjs -->`,
    `<!-- end of ${name} -->`,
  ];
  if (!before.includes(start) || !before.includes(end))
    throw new Error(`README.md has no ${start}`);
  after = `${after.split(start)[0]}${start}\n\n${text}\n\n${end}${after.split(end)[1]}`;
}
if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error(
      'The tables of terraform/README.md are out of date. Run `node tools/terraform-tables.mjs`.',
    );
    process.exitCode = 1;
  }
} else {
  writeFileSync(resolve(folder, 'README.md'), after);
}

/**
 * Makes a library load its own modules when it first uses them. TypeScript compiles an import to
 *
 *     const foo_1 = require("./foo");
 *
 * and every use of it to `foo_1.something`, with a name that occurs for nothing else in the file. Both become a call:
 *
 *     const foo_1$ = () => require("./foo");    foo_1$().something
 *
 * A module that is only required for its effects, or under a name that a person gave it, is left as it is.
 */
export function lazyRequires(code) {
  const names = [];
  const declared = code.replace(
    /^(?:const|var) (\w+_\d+) = (require\("[^"]+"\));$/gm,
    (_, name, required) => {
      names.push(name);
      return `const ${name}$ = () => ${required};`;
    },
  );
  return names.reduce(
    (text, name) =>
      text.replace(
        // `new foo_1.Bar()` has to become `new (foo_1$().Bar)()`.
        new RegExp(String.raw`\bnew ${name}((?:\.\w+)+)|\b${name}\b(?!\$)`, 'g'),
        (_, member) => (member === undefined ? `${name}$()` : `new (${name}$()${member})`),
      ),
    declared,
  );
}

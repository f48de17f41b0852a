// A value in capnp text. The brand keeps raw text out of a config: only the functions of this file make one.
declare const expression: unique symbol;
export type Expression = string & { readonly [expression]: true };

// How each byte is written inside quotes: printable ASCII as itself, but for the two characters that
// mean something there, and everything else as `\xHH`.
const LITERALS: ReadonlyArray<string> = Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  if (/[ !#-[\]-~]/.test(character)) return character;
  return `\\x${byte.toString(16).padStart(2, "0")}`;
});
const FIELD_NAME = /^[a-z][A-Za-z0-9]*$/;

/**
 * A capnp string literal that means exactly the UTF-8 bytes of `value`, whatever they are: every byte
 * that is not harmless is written as `\xHH`. A lone surrogate, which UTF-8 lacks, becomes U+FFFD.
 */
export function quote(value: string): Expression {
  let literal = "";
  for (const byte of Buffer.from(value, "utf8")) literal += LITERALS[byte];
  return `"${literal}"` as Expression;
}

/** The content of a file beside the config, as `Text` or `Data`. */
export function embed(file: string): Expression {
  return `embed ${quote(file)}` as Expression;
}

/** A struct: `(name = value, …)` of the fields that are given. */
export function struct(fields: Readonly<Record<string, Expression | undefined>>): Expression {
  const written = Object.entries(fields).flatMap(([name, value]) => {
    if (value === undefined) return [];
    if (!FIELD_NAME.test(name)) throw new TypeError(`${name} is not the name of a capnp field`);
    return [`${name} = ${value}`];
  });
  return `(${written.join(", ")})` as Expression;
}

export function list(items: ReadonlyArray<Expression>): Expression {
  return `[${items.join(", ")}]` as Expression;
}

/** A list with one item per line, for the parts of a config that people read. */
export function lines(items: ReadonlyArray<Expression>): Expression {
  return `[\n${items.map((item) => `    ${item},\n`).join("")}  ]` as Expression;
}

/** A word of the language: `true`, or an enumerant such as `proxy`. */
export function word(value: "true" | "proxy"): Expression {
  return value as string as Expression;
}

/** The text of a whole file that defines `config`. */
export function configFile(config: Expression): string {
  return `using Workerd = import "/workerd/workerd.capnp";\nconst config :Workerd.Config = ${config};\n`;
}

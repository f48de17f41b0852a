import type { Module, WorkerName } from "@atoll/control-plane/contract";

// Names that can be imported as `./` and the name as it is written, whichever registry of modules workerd has: paths
// that lead neither up nor to the root, and that a URL takes as they are.
const PLAIN_NAME = /^(?![ /])(?!.*(\.\.|\/\/|[:\\]))/;

/**
 * A main module in front of a worker's own, for one whose named entrypoints others bind: it exports all that the
 * own one does, and for each entrypoint that is not among that one whose calls fail with a sentence. workerd
 * refuses to start a cell with a binding to an entrypoint that does not exist, and one worker's binding must not
 * keep another's version from running. `undefined` where there is nothing to stand in for.
 */
export function entrypointModule(options: {
  readonly worker: WorkerName;
  readonly main: Module;
  readonly taken: ReadonlySet<string>;
  /** Entrypoints that bindings name. */
  readonly entrypoints: ReadonlySet<string>;
}): { readonly name: string; readonly source: string } | undefined {
  const { worker, main, taken, entrypoints } = options;
  if (entrypoints.size === 0 || main.kind !== "esm" || !PLAIN_NAME.test(main.name)) {
    return undefined;
  }
  const exports = [...entrypoints].toSorted().map((entrypoint, index) => {
    const name = JSON.stringify(entrypoint.toWellFormed());
    return `const e${index} = main[${name}] ?? missing(${name});\nexport { e${index} as ${name} };`;
  });
  const from = JSON.stringify(`./${main.name}`);
  const source = `import { WorkerEntrypoint } from "cloudflare:workers";
import * as main from ${from};
export * from ${from};
export default main.default ?? {};
function missing(name) {
  return class extends WorkerEntrypoint {
    constructor(context, env) {
      super(context, env);
      throw new Error("The worker '${worker}' has no entrypoint '" + name + "', to which a binding leads. Export it, and deploy again.");
    }
  };
}
${exports.join("\n")}`;
  return { name: freeName(taken), source };
}

function freeName(taken: ReadonlySet<string>): string {
  for (let number = 0; ; number += 1) {
    const name = `atoll-entrypoints-${number}.js`;
    if (!taken.has(name)) return name;
  }
}

import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UsageError } from "../settings.ts";

// In the order in which wrangler prefers them.
const CONFIG_NAMES = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"] as const;

const ProjectConfig = z.object({
  name: z.string().optional(),
  kv_namespaces: z.array(z.object({ binding: z.string(), id: z.string().optional() })),
});

/** What is needed here of a project's configuration; wrangler reads the rest. */
export interface Project {
  readonly name: string;
  readonly kvNamespaces: ReadonlyArray<{ readonly binding: string; readonly id?: string }>;
}

/** Path of the project's wrangler configuration. Throws a `UsageError` when the folder has none. */
export function findProjectConfig(directory: string): string {
  for (const name of CONFIG_NAMES) {
    const file = join(directory, name);
    if (existsSync(file)) return file;
  }
  throw new UsageError(
    `${directory} is no Workers project: it has none of ${CONFIG_NAMES.join(", ")}. Run the command in a project's folder.`,
  );
}

/** The project in what wrangler read from its configuration. */
export function parseProject(config: unknown): Project {
  const { name, kv_namespaces: namespaces } = ProjectConfig.parse(config);
  return {
    name: name ?? "",
    kvNamespaces: namespaces.map(({ binding, id }) =>
      id === undefined ? { binding } : { binding, id },
    ),
  };
}

import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const FIXTURES = join(import.meta.dirname, "..", "fixtures");
const EXAMPLES = join(import.meta.dirname, "..", "..", "sites", "examples");

/** A copy of a project that a test may change: what wrangler writes stays out of the sources. */
export interface TestProject {
  readonly directory: string;
  /** Replaces text in one of its files. Throws when the text is not there. */
  edit(file: string, change: { readonly from: string; readonly to: string }): Promise<void>;
  write(file: string, content: string | Uint8Array): Promise<void>;
  remove(): Promise<void>;
}

/** Copies `tests/fixtures/<name>`. */
export function copyFixture(name: string): Promise<TestProject> {
  return copyProject(join(FIXTURES, name));
}

/** Copies `sites/examples/<name>`; its dependencies still resolve, through a link. */
export async function copyExample(name: string): Promise<TestProject> {
  const project = await copyProject(join(EXAMPLES, name));
  await symlink(join(EXAMPLES, "../../node_modules"), join(project.directory, "node_modules"));
  return project;
}

/** A new, empty project with the given files. */
export async function createProject(
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<TestProject> {
  const project = openProject(await mkdtemp(join(tmpdir(), "atoll-project-")));
  for (const [file, content] of Object.entries(files)) await project.write(file, content);
  return project;
}

async function copyProject(source: string): Promise<TestProject> {
  const directory = await mkdtemp(join(tmpdir(), "atoll-project-"));
  await cp(source, directory, {
    recursive: true,
    filter: (path) => !/\/(node_modules|\.wrangler)$/.test(path),
  });
  return openProject(directory);
}

function openProject(directory: string): TestProject {
  return {
    directory,
    edit: async (file, { from, to }) => {
      const path = join(directory, file);
      const text = await readFile(path, "utf8");
      if (!text.includes(from)) throw new Error(`${file} does not contain ${from}`);
      await writeFile(path, text.replace(from, to));
    },
    write: async (file, content) => {
      await mkdir(dirname(join(directory, file)), { recursive: true });
      await writeFile(join(directory, file), content);
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

import { LIMITS } from "../limits.ts";

// What a DNS label may have; the dash between alias and project takes one.
const LABEL_CHARACTERS_MAX = 63;

/**
 * What stands for a branch in the host of its previews: lower case, with dashes for whatever a host can't hold. Two
 * branches may come to the same, as on Cloudflare: then the host leads to the newer deployment. `undefined` where
 * nothing is left, or the project's name leaves no room.
 */
export function branchAlias(branch: string, project: string): string | undefined {
  const charactersMax = Math.min(
    LIMITS.pagesAliasCharactersMax,
    LABEL_CHARACTERS_MAX - 1 - project.length,
  );
  const alias = branch
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replace(/^-/, "")
    .slice(0, charactersMax)
    .replace(/-$/, "");
  return alias === "" ? undefined : alias;
}

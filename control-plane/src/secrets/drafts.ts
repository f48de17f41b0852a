import type { Binding } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { parseBindings } from "../versions/binding-requests.ts";
import { resolveBindings } from "../versions/bindings.ts";
import type { VersionBase, VersionDraft } from "../versions/publisher.ts";
import type { Annotations } from "../versions/schemas.ts";
import { boundValues } from "../versions/upload.ts";
import type { SecretChanges, SettingsPatch } from "./schemas.ts";

/** The newest version again, with some secrets set and some gone. Throws `secret_not_found` for the latter. */
export function draftSecrets(
  base: VersionBase,
  changes: SecretChanges,
  annotations: Annotations,
): VersionDraft {
  const secrets = new Map(Object.entries(base.secrets));
  for (const [name, text] of changes) {
    if (text !== null) {
      refuseTakenName(base, name);
      secrets.set(name, text);
    } else if (!secrets.delete(name)) {
      throw secretNotFound(base.worker.name, name);
    }
  }
  const others = base.latest.version.bindings.filter(({ type }) => type !== "secret_text");
  const own = [...secrets.keys()].map((name) => ({ type: "secret_text" as const, name }));
  return {
    ...copyWith(base, [...others, ...own], annotations),
    secrets: Object.fromEntries(secrets),
  };
}

/** The newest version again, with exactly the patch's bindings. */
export function draftSettings(base: VersionBase, patch: SettingsPatch): VersionDraft {
  const earlier = base.latest.version.bindings;
  const requests = patch.bindings.map((row) => {
    const isKept =
      Object.keys(row).length === 2 &&
      earlier.some(({ type, name }) => type === row["type"] && name === row["name"]);
    return isKept ? { type: "inherit", name: row["name"] } : row;
  });
  const { bindings, secrets } = resolveBindings({
    requested: parseBindings(requests),
    previous: boundValues(base),
    keptTypes: [],
  });
  return { ...copyWith(base, bindings, {}), secrets };
}

function secretNotFound(worker: string, name: string): ControlPlaneError {
  return new ControlPlaneError(
    "secret_not_found",
    `The worker '${worker}' has no secret '${name.slice(0, 100)}'`,
  );
}

/** The newest version with other bindings. Its tag says which upload that was, so the copy has its own or none. */
function copyWith(
  base: VersionBase,
  bindings: ReadonlyArray<Binding>,
  annotations: Annotations,
): Omit<VersionDraft, "secrets"> {
  const { tag: _tag, ...version } = base.latest.version;
  const tag = annotations["workers/tag"];
  return {
    version: { ...version, bindings: [...bindings], ...(tag === undefined ? {} : { tag }) },
    sourceMaps: base.latest.notes.sourceMaps,
    annotations,
    // Everything that the version names is stored already.
    contents: new Map(),
  };
}

function refuseTakenName(base: VersionBase, name: string): void {
  const taken = base.latest.version.bindings.find(
    (binding) => binding.name === name && binding.type !== "secret_text",
  );
  if (taken === undefined) return;
  throw new ControlPlaneError(
    "binding_name_taken",
    `Binding name '${name}' already in use by a binding of type '${taken.type}'. Please use a different name and try again.`,
  );
}

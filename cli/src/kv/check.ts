import { NamespaceCheck } from "@atoll/control-plane";
import type { KvApi } from "./api.ts";
import { Progress } from "./progress.ts";

/** What a check found of each namespace. */
export interface KvCheck {
  readonly namespaces: ReadonlyArray<NamespaceCheck>;
}

/** Checks one namespace, or all of the account. With `content` each large value is read and hashed, too. */
export async function checkKv(
  api: KvApi,
  options: { readonly namespace: string | undefined; readonly content: boolean },
): Promise<KvCheck> {
  const { namespace, content } = options;
  const progress = new Progress();
  try {
    const namespaces: NamespaceCheck[] = [];
    const checked = namespace === undefined ? await api.list() : [await api.find(namespace)];
    for (const { id, title } of checked) {
      progress.show(title);
      const path = `/namespaces/${id}/check?content=${content}`;
      namespaces.push(await api.call(path, NamespaceCheck));
    }
    return { namespaces };
  } finally {
    progress.end();
  }
}

/** Whether nothing differs. What is only behind, or not connected, does not. */
export function isSound({ namespaces }: KvCheck): boolean {
  return namespaces.every(
    ({ findings, replicas }) =>
      findings.length === 0 && replicas.every(({ verdict }) => verdict !== "differs"),
  );
}

const VERDICTS = {
  same: "the same as the origin",
  behind: "as the origin was, and on its way",
  differs: "DIFFERS from the origin at that revision",
  unknown: "not known: not connected, or too far behind",
} as const;

/** The findings as people read them. */
export function formatCheck(check: KvCheck): string {
  const namespaces = check.namespaces.flatMap(({ title, id, findings, replicas }) => [
    `${title} (${id}): ${findings.length === 0 ? "sound at the origin" : "WRONG at the origin"}`,
    ...findings.map((finding) => `  ${finding}`),
    ...replicas.map(
      ({ node, revision, verdict }) => `  ${node}, revision ${revision}: ${VERDICTS[verdict]}`,
    ),
  ]);
  const verdict = isSound(check) ? "Nothing differs." : "Something differs: see above.";
  return [...namespaces, verdict].join("\n");
}

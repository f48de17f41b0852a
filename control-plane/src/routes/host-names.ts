import type { WorkerName } from "../contract/index.ts";

/** The host names that workers have by themselves: `<worker>.<base domain>`. */
export class HostNames {
  readonly baseDomain: string;
  readonly #publicPort: number;

  constructor(parts: { readonly baseDomain: string; readonly publicPort: number }) {
    this.baseDomain = parts.baseDomain;
    this.#publicPort = parts.publicPort;
  }

  /** Of a worker, or of a preview by its whole name. */
  hostOf(name: string): string {
    return `${name}.${this.baseDomain}`;
  }

  /** Where a worker answers, for people. */
  urlOf(worker: WorkerName): string {
    return `http://${this.hostOf(worker)}${this.#portSuffix()}`;
  }

  /** The worker whose own host this is, in text; `undefined` outside of the base domain. */
  workerOf(host: string): string | undefined {
    if (!host.endsWith(`.${this.baseDomain}`)) return undefined;
    const label = host.slice(0, -this.baseDomain.length - 1);
    return label.includes(".") ? undefined : label;
  }

  /**
   * What stands for an account's `workers.dev` subdomain. Older wranglers print
   * `https://<worker>.<this>.workers.dev`: with the rest in a fragment that shows the true host and port,
   * and leads nobody to a stranger's site.
   */
  printedSubdomain(): string {
    return `${this.baseDomain}${this.#portSuffix()}/#`;
  }

  /** Newer wranglers print `<first of a version's id><this>` for previews. */
  previewSuffix(worker: WorkerName): string {
    return `-${this.hostOf(worker)}${this.#portSuffix()}`;
  }

  #portSuffix(): string {
    return this.#publicPort === 80 ? "" : `:${this.#publicPort}`;
  }
}

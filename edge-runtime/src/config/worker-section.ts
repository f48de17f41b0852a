import {
  accountOfKey,
  type Assets,
  type Code,
  type Module,
  type Version,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import { EdgeError } from "../errors.ts";
import { assetsConfig } from "./assets-config.ts";
import {
  bindingExpression,
  isNamed,
  kvServiceName,
  lacksEntrypoint,
  missingServiceName,
  propsBehindRouter,
  propsRouterName,
  serviceExpression,
  splitServiceName,
  type BindingScope,
  type WorkerServices,
} from "./binding.ts";
import { embed, list, quote, struct, type Expression } from "./capnp-text.ts";
import { HEADERS } from "./cell-interface.ts";
import type { FileTable } from "./file-table.ts";
import type { GroupMember, KvCapability } from "./group-config.ts";
import { entrypointModule } from "./entrypoint-module.ts";
import { missingService } from "./missing-service.ts";
import { routeGate } from "./route-gate.ts";
import { splitService } from "./split-service.ts";
import { tailServices } from "./tail-service.ts";
import { triggerService } from "./trigger-service.ts";

interface SectionOptions {
  readonly member: GroupMember;
  readonly index: number;
  readonly group: ReadonlyArray<GroupMember>;
  /** Further versions of its members, which are behind them in the order of sections. */
  readonly others: ReadonlyArray<GroupMember>;
  readonly files: FileTable;
  /** The group's sites; a section appends those that it serves. */
  readonly sites: string[];
  readonly kvCapability: KvCapability;
}

/**
 * The services of one worker in a cell's config. `w<n>` is where its requests arrive: its code, or
 * the router in front of its static files, which calls its code `w<n>-code`. Names are made from
 * positions, so no name that a tenant chose can collide with one of ours.
 */
export class WorkerSection {
  readonly key: WorkerKey;
  /** Name of the service where requests arrive, and of the socket in front of it. */
  readonly name: string;
  /** Name of the service, and of its socket, that calls `scheduled()`; none where no schedule does. */
  readonly trigger: string | undefined;
  readonly #options: SectionOptions;

  constructor(options: SectionOptions) {
    this.#options = options;
    this.key = options.member.key;
    this.name = serviceName(options.index);
    const { isScheduled = false, version } = options.member;
    // Static files alone have nothing to be called.
    this.trigger = isScheduled && version.code.kind !== "none" ? `${this.name}-trigger` : undefined;
  }

  services(): ReadonlyArray<Expression> {
    const { version } = this.#options.member;
    const code = version.code.kind === "none" ? [] : [this.#code(version.code)];
    const site = version.assets === undefined ? [] : [this.#site(version.assets)];
    if (code.length + site.length === 0) {
      throw this.#invalid("it has neither code nor static files");
    }
    return [
      ...site,
      ...code,
      ...this.#gate(),
      ...this.#namespaces(),
      ...this.#missing(),
      ...this.#routers(),
      ...this.#splits(),
      ...this.#trigger(),
      ...this.#tail(),
    ];
  }

  #trigger(): ReadonlyArray<Expression> {
    if (this.trigger === undefined) return [];
    const worker = codeServiceName(this.#options.member.version, this.#options.index);
    return [triggerService({ name: this.trigger, worker })];
  }

  #tail(): ReadonlyArray<Expression> {
    const { tailCapability: capability } = this.#options.member;
    return capability === undefined ? [] : tailServices({ name: this.#tailName, capability });
  }

  #modules(modules: ReadonlyArray<Module>): Expression {
    const { member, group, others, files } = this.#options;
    const [main] = modules;
    const own = modules.map((module) => moduleExpression(module, files));
    if (main === undefined) return list(own);
    const front = entrypointModule({
      worker: member.name,
      main,
      taken: new Set(modules.map(({ name }) => name)),
      entrypoints: boundEntrypoints(member, [...group, ...others]),
    });
    if (front === undefined) return list(own);
    return list([struct({ name: quote(front.name), esModule: quote(front.source) }), ...own]);
  }

  /** Who hears what happens: whoever watches, and other workers. */
  #tails(): Readonly<Record<string, Expression>> {
    const { member, group } = this.#options;
    const own = member.tailCapability === undefined ? [] : [this.#tailName];
    const consumers = (member.tailConsumers ?? []).flatMap((name) => {
      const key = `${accountOfKey(member.key)}/${name}`;
      // Static files alone hear nothing.
      const index = group.findIndex(
        (other) => other.key === key && other.version.code.kind !== "none",
      );
      const consumer = group[index];
      return consumer === undefined ? [] : [codeServiceName(consumer.version, index)];
    });
    const names = [...own, ...consumers];
    return names.length === 0 ? {} : { tails: list(names.map(quote)) };
  }

  get #tailName(): string {
    return `${this.name}-tail`;
  }

  #code(code: Exclude<Code, { kind: "none" }>): Expression {
    const { member, files } = this.#options;
    const scope = this.#bindingScope();
    return struct({
      name: quote(codeServiceName(member.version, this.#options.index)),
      worker: struct({
        ...(code.kind === "modules"
          ? { modules: this.#modules(code.modules) }
          : { serviceWorkerScript: embed(files.fileOf(code.script.blob)) }),
        ...compatibility(member.version),
        bindings: list(
          member.version.bindings.map((binding, index) => bindingExpression(binding, index, scope)),
        ),
        cacheApiOutbound: quote("cache"),
        ...this.#tails(),
      }),
    });
  }

  #site(assets: Assets): Expression {
    const { member, index } = this.#options;
    const { code } = member.version;
    const behind =
      code.kind === "none"
        ? compatibility(member.version)
        : { userWorker: quote(this.#gateName ?? codeServiceName(member.version, index)) };
    return this.#router({ name: this.name, member, assets, behind });
  }

  /** A service with a member's static files, in front of what is behind them. */
  #router(options: {
    readonly name: string;
    readonly member: GroupMember;
    readonly assets: Assets;
    readonly behind: Readonly<Record<string, Expression>>;
  }): Expression {
    const { sites } = this.#options;
    const { name, member, assets, behind } = options;
    if (member.siteDirectory === undefined)
      throw this.#invalid("its static files have no directory");
    const known = sites.indexOf(member.siteDirectory);
    const position = known === -1 ? sites.push(member.siteDirectory) - 1 : known;
    return struct({
      name: quote(name),
      assets: struct({
        path: quote(`sites/${position}`),
        config: quote(JSON.stringify(assetsConfig(assets))),
        ...behind,
      }),
    });
  }

  /** Present where the site says which paths are the code's. */
  get #gateName(): string | undefined {
    const { assets, code } = this.#options.member.version;
    const isGated = assets?.routes !== undefined && code.kind !== "none";
    return isGated ? `${this.name}-gate` : undefined;
  }

  #gate(): ReadonlyArray<Expression> {
    const { version } = this.#options.member;
    const [name, routes] = [this.#gateName, version.assets?.routes];
    if (name === undefined || routes === undefined) return [];
    const code = codeServiceName(version, this.#options.index);
    const parts = { site: this.name, routes, compatibility: compatibility(version) };
    return [routeGate({ name, code, ...parts })];
  }

  /** One external service per namespace that is bound: the capability rides on each of its requests. */
  #namespaces(): ReadonlyArray<Expression> {
    const { member, index, kvCapability } = this.#options;
    return member.version.bindings.flatMap((binding, position) => {
      if (binding.type !== "kv_namespace") return [];
      const capability = kvCapability(member, binding.namespace_id);
      const header = struct({ name: quote(HEADERS.kv), value: quote(capability) });
      const http = struct({ injectRequestHeaders: list([header]) });
      return [
        struct({
          name: quote(kvServiceName(index, position)),
          external: struct({ address: quote("unix:kv.sock"), http }),
        }),
      ];
    });
  }

  /** What stands for workers that are bound and not there, and for entrypoints of those that have none. */
  #missing(): ReadonlyArray<Expression> {
    const { member, index } = this.#options;
    const { findWorker } = this.#bindingScope();
    return member.version.bindings.flatMap((binding, position) => {
      if (binding.type !== "service") return [];
      const target = findWorker(binding.service);
      const parts = {
        name: missingServiceName(index, position),
        ...{ binding: binding.name, worker: binding.service },
      };
      if (target === undefined) return [missingService(parts)];
      const versions = target.other === undefined ? [target] : [target, target.other];
      if (!versions.some((version) => lacksEntrypoint(binding, version))) return [];
      return [missingService({ ...parts, entrypoint: binding.entrypoint })];
    });
  }

  /** A router of its own for each binding with props to a worker with static files: it keeps none, and passes none on. */
  #routers(): ReadonlyArray<Expression> {
    const { member, index } = this.#options;
    const { findWorker } = this.#bindingScope();
    return member.version.bindings.flatMap((binding, position) => {
      const target = binding.type === "service" ? findWorker(binding.service) : undefined;
      if (binding.type !== "service" || target === undefined) return [];
      return [target, target.other].flatMap((services) => {
        const props = services && propsBehindRouter(binding, services);
        const assets = services?.routed?.version.assets;
        if (services?.routed === undefined || assets === undefined || props === undefined)
          return [];
        const name = propsRouterName(index, position, services.code);
        const userWorker = struct({ name: quote(services.code), props });
        return [this.#router({ name, member: services.routed, assets, behind: { userWorker } })];
      });
    });
  }

  /** What stands between bindings and workers that two versions serve. */
  #splits(): ReadonlyArray<Expression> {
    const { member, index } = this.#options;
    const { findWorker } = this.#bindingScope();
    return member.version.bindings.flatMap((binding, position) => {
      if (binding.type !== "service") return [];
      const target = findWorker(binding.service);
      if (target?.other === undefined) return [];
      const place = { workerIndex: index, position };
      const [main, other] = [target, target.other].map((each) =>
        serviceExpression(binding, each, place),
      );
      if (main === undefined || other === undefined) return [];
      const name = splitServiceName(index, position);
      return [splitService({ name, main, other, share: target.other.share })];
    });
  }

  #bindingScope(): BindingScope {
    const { member, index, group, others, files } = this.#options;
    const account = accountOfKey(member.key);
    return {
      member,
      workerIndex: index,
      fileOf: (blob) => files.fileOf(blob),
      findWorker: (name) => {
        const found = group.findIndex((other) => other.key === `${account}/${name}`);
        const target = group[found];
        if (target === undefined) return undefined;
        const own = servicesOf(target, found);
        const beside = others.findIndex(({ key }) => key === target.key);
        const other = others[beside];
        if (other === undefined || target.other === undefined) return own;
        const { share } = target.other;
        return { ...own, other: { ...servicesOf(other, group.length + beside), share } };
      },
    };
  }

  #invalid(why: string): EdgeError {
    const { key, version } = this.#options.member;
    return new EdgeError("config_invalid", `${key}, version ${version.id}: ${why}`);
  }
}

/** Entrypoints of a worker that bindings of others name. */
function boundEntrypoints(
  { key }: GroupMember,
  callers: ReadonlyArray<GroupMember>,
): ReadonlySet<string> {
  const names = callers.flatMap((caller) =>
    caller.version.bindings.flatMap((binding) => {
      const isIts =
        binding.type === "service" && `${accountOfKey(caller.key)}/${binding.service}` === key;
      return isIts && isNamed(binding.entrypoint) ? [binding.entrypoint] : [];
    }),
  );
  return new Set(names);
}

function servicesOf(member: GroupMember, index: number): WorkerServices {
  const { version } = member;
  const { assets, code } = version;
  const isRouted = assets !== undefined && assets.routes === undefined && code.kind !== "none";
  return {
    front: serviceName(index),
    code: codeServiceName(version, index),
    hasEntrypoints: code.kind === "modules",
    routed: isRouted ? member : undefined,
  };
}

function serviceName(index: number): string {
  return `w${index}`;
}

function codeServiceName(version: Version, index: number): string {
  return version.assets === undefined ? serviceName(index) : `w${index}-code`;
}

function compatibility(version: Version): Readonly<Record<string, Expression>> {
  return {
    compatibilityDate: quote(version.compatibilityDate),
    compatibilityFlags: list(version.compatibilityFlags.map(quote)),
  };
}

const MODULE_FIELDS = {
  esm: "esModule",
  commonjs: "commonJsModule",
  text: "text",
  data: "data",
  json: "json",
  wasm: "wasm",
} as const satisfies Record<Module["kind"], string>;

function moduleExpression(module: Module, files: FileTable): Expression {
  return struct({
    name: quote(module.name),
    [MODULE_FIELDS[module.kind]]: embed(files.fileOf(module.blob)),
  });
}

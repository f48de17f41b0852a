import { NAMESPACE_HEADER } from "./kv-binding-server.ts";

/**
 * A plugin of Miniflare, which loads this file by its path: bindings of type `atoll_kv` become native
 * KV bindings that call a socket instead of Miniflare's own storage. `unsafe` bindings with a plugin
 * are the extension point that Miniflare has for this.
 */
export const KV_PLUGIN_NAME = "atoll-kv";
export const KV_BINDING_TYPE = "atoll_kv";

/** What a binding of the type carries as the plugin's options. */
export interface KvPluginOptions {
  readonly socketPath: string;
  readonly namespace: string;
}

// The parts of Miniflare's types that are used here; it hands over more.
interface WorkerOptions {
  readonly config: {
    readonly env?: Readonly<Record<string, { readonly type: string; readonly dev?: unknown }>>;
  };
}

function kvBindings(worker: WorkerOptions): ReadonlyArray<[string, KvPluginOptions]> {
  return Object.entries(worker.config.env ?? {}).flatMap(([name, binding]) => {
    if (binding.type !== `unsafe:${KV_BINDING_TYPE}`) return [];
    const { options } = binding.dev as { readonly options: KvPluginOptions };
    return [[name, options]];
  });
}

function serviceName(options: KvPluginOptions): string {
  return `${KV_PLUGIN_NAME}:${options.namespace}`;
}

export const plugins = {
  [KV_PLUGIN_NAME]: {
    bindingTypeDescription: "KV namespace of an Atoll",
    getBindings(worker: WorkerOptions) {
      return kvBindings(worker).map(([name, options]) => ({
        name,
        kvNamespace: { name: serviceName(options) },
      }));
    },
    getNodeBindings() {
      return {};
    },
    getServices({ options: worker }: { readonly options: WorkerOptions }) {
      return kvBindings(worker).map(([, options]) => ({
        name: serviceName(options),
        external: {
          address: `unix:${options.socketPath}`,
          http: { injectRequestHeaders: [{ name: NAMESPACE_HEADER, value: options.namespace }] },
        },
      }));
    },
  },
};

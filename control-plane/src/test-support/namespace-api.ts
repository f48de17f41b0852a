import { NamespaceId } from "@atoll/kv-store";
import { answerOf, type Answer, type ControlPlaneApi } from "./control-plane-api.ts";

/** For tests: a namespace of our account, over the API. */
export class NamespaceApi {
  readonly id: NamespaceId;
  readonly #api: ControlPlaneApi;

  static async create(api: ControlPlaneApi, title = "words"): Promise<NamespaceApi> {
    const { result } = await api.call("POST A/storage/kv/namespaces", { title });
    return new NamespaceApi(api, NamespaceId.parse(result.id));
  }

  private constructor(api: ControlPlaneApi, id: NamespaceId) {
    this.#api = api;
    this.id = id;
  }

  /** Calls the API below the namespace. */
  fetch(path: string, init?: RequestInit): Promise<Response> {
    return this.#api.fetch(`A/storage/kv/namespaces/${this.id}${path}`, init);
  }

  /** Sends the body as it is. */
  async call(method: string, path: string, body?: RequestInit["body"]): Promise<Answer> {
    return answerOf(await this.fetch(path, body === undefined ? { method } : { method, body }));
  }

  put(key: string, value: RequestInit["body"], query = ""): Promise<Answer> {
    return this.call("PUT", `/values/${encodeURIComponent(key)}${query}`, value);
  }

  /** Of its keys, as they are listed. */
  async names(): Promise<ReadonlyArray<string>> {
    const { result } = await this.call("GET", "/keys");
    return (result as ReadonlyArray<{ readonly name: string }>).map(({ name }) => name);
  }
}

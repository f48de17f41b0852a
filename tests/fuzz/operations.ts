import type { JsonSchema } from "./schema-values.ts";

/** The OpenAPI document, as far as fuzzing reads it. */
export interface ApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, ApiOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
  readonly "x-refused-addresses": ReadonlyArray<string>;
  readonly "x-error-codes": Readonly<Record<string, { readonly number: number }>>;
}

interface ApiOperation {
  readonly operationId: string;
  readonly security: ReadonlyArray<Readonly<Record<string, unknown>>>;
  readonly parameters?: ReadonlyArray<ApiParameter>;
  readonly requestBody?: { readonly content: Readonly<Record<string, ApiContent>> };
  readonly responses: Readonly<Record<string, ApiResponse>>;
}

export interface ApiParameter {
  readonly name: string;
  readonly in: "path" | "query";
  readonly required: boolean;
  readonly schema: JsonSchema;
}

interface ApiContent {
  readonly schema?: JsonSchema;
}

export interface ApiResponse {
  readonly $ref?: string;
  /** Of failures: the codes, separated by commas. */
  readonly description: string;
  readonly content?: Readonly<Record<string, ApiContent>>;
}

/** An operation with its address. */
export interface Operation extends ApiOperation {
  readonly method: string;
  readonly path: string;
}

/** Every operation of the document but upgrades, which are no exchanges. */
export function operationsOf(document: ApiDocument): ReadonlyArray<Operation> {
  return Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations)
      .filter(([, { responses }]) => !("101" in responses))
      .map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
  );
}

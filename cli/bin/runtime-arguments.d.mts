/** Node's own arguments for a command of `atoll`, by its name. */
export function runtimeArguments(command: string | undefined): ReadonlyArray<string>;

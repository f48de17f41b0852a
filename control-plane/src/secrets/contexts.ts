/** Binds a sealed value to its place: it opens for no other worker and under no other name. */
export function secretContext(workerId: string, name: string): string {
  return `worker ${workerId}, secret ${name}`;
}

/** The same for a secret of a Pages project, which is of no version yet. */
export function pagesSecretContext(place: {
  readonly workerId: string;
  readonly environment: string;
  readonly name: string;
}): string {
  return `worker ${place.workerId}, ${place.environment} of pages, secret ${place.name}`;
}

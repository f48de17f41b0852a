/** Binds a sealed value to its place: it opens for no other worker and under no other name. */
export function secretContext(workerId: string, name: string): string {
  return `worker ${workerId}, secret ${name}`;
}

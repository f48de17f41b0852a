/** What only who runs Atoll can mend, such as a key that is none. Its message is for them: clients are told of nothing more than a fault. */
export class OperatorError extends Error {
  override readonly name = "OperatorError";
}

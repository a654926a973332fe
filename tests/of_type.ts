/** What a machine has said, by its type. */

/** The message or event, known to be of a type. */
export function ofType<M extends { type: string }, T extends M["type"]>(
  message: M | undefined,
  type: T,
): Extract<M, { type: T }> {
  if (message?.type !== type) throw new Error(`${message?.type} came where ${type} was due`);
  return message as Extract<M, { type: T }>;
}

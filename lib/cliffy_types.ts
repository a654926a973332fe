/**
 * The part of cliffy 2.5.1 that the prompt uses. Its own declarations bring the types of Node 6 with them, which
 * would take the place of Deno's in the whole program.
 */

export interface RestParameter {
  label: string;
  rest: true;
  /** Turns each word into the value that the action gets. */
  type: (word: string) => string;
}

export interface CliffyCommand {
  parameters: RestParameter[];
  action(parameters: { [label: string]: string[] }): Promise<void>;
}

export declare class CLI {
  constructor(options: { input: unknown; output: unknown; quietBlank: boolean });
  addCommand(name: string, command: CliffyCommand): this;
  /** What is written when a line is waited for. */
  setDelimiter(delimiter: string): this;
  /** Begins to read lines. */
  show(): this;
  /** Stops reading after the line under way. */
  hide(): this;
}

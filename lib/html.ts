/**
 * HTML from templates: whatever is put into one is escaped, unless it came from a template itself. Attributes must
 * be in double quotes.
 */

/** A piece of HTML in which everything is escaped that has to be. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** `null`, `false` and the empty list leave nothing. */
export type HtmlValue = string | number | Html | null | false | readonly HtmlValue[];

const escapes: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
  "`": "&#96;",
};

/** A tag for template literals. */
export function html(strings: TemplateStringsArray, ...values: HtmlValue[]): Html {
  let text = strings[0] ?? "";
  for (const [index, value] of values.entries()) {
    text += textOf(value) + (strings[index + 1] ?? "");
  }
  return new Html(text);
}

function textOf(value: HtmlValue): string {
  if (value === null || value === false) return "";
  if (value instanceof Html) return value.text;
  if (typeof value === "object") return value.map(textOf).join("");
  return String(value).replace(/[&<>"'`]/g, (character) => escapes[character] ?? "");
}

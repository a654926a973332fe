import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { html } from "../lib/html.ts";

Deno.test("html escapes what is put in, but not what came from it", () => {
  const name = `<b onclick="x">'&\`</b>`;
  const inner = html`<i>${name}</i>`;
  assertEquals(
    html`<a title="${name}">${inner}${[inner, 7]}${null}${false}</a>`.text,
    '<a title="&lt;b onclick=&quot;x&quot;&gt;&#39;&amp;&#96;&lt;/b&gt;">' +
      "<i>&lt;b onclick=&quot;x&quot;&gt;&#39;&amp;&#96;&lt;/b&gt;</i>".repeat(2) + "7</a>",
  );
});

Deno.test("nothing that is put in ends a quoted attribute or opens a tag", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    const { text: made } = html`<p title="${text}">`;
    const inside = made.slice('<p title="'.length, -'">'.length);
    assertEquals(/["<>]/.test(inside), false);
  }));
});

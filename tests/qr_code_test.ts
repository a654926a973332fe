import { assert, assertEquals } from "@std/assert";
import decodeQr from "qr/decode.js";
import { qrLines } from "../lib/qr_code.ts";

const link =
  "p2p://192.0.2.2:48558/vjqbxghbla4tbjaazvi3xn7zvqp2pvgrqwlv6weg75lfl3prkndq#open%20sesame";
const escape = "\x1b";

/** What a camera would see of the lines: pixels, some for each module. */
function photographed(lines: string[], inkIsDark: boolean): string {
  const scale = 4;
  const width = [...lines[0] ?? ""].length;
  const height = lines.length * 2;
  const data = new Uint8Array(width * scale * height * scale * 4).fill(255);
  const isInk = (column: number, row: number) => {
    const cell = [...lines[row >> 1] ?? ""][column];
    return cell === "█" || cell === (row % 2 === 0 ? "▀" : "▄");
  };
  for (let y = 0; y < height * scale; y++) {
    for (let x = 0; x < width * scale; x++) {
      const isDark = isInk(Math.floor(x / scale), Math.floor(y / scale)) === inkIsDark;
      if (isDark) data.fill(0, (y * width * scale + x) * 4, (y * width * scale + x) * 4 + 3);
    }
  }
  return decodeQr({ width: width * scale, height: height * scale, data });
}

Deno.test("qrLines() draws what a camera reads back, on either ground", () => {
  const bright = qrLines(link, { hasColours: false, width: 80 }) ?? [];
  assertEquals(photographed(bright, false), link);
  const coloured = qrLines(link, { hasColours: true, width: 80 }) ?? [];
  const plain = coloured.map((line) =>
    line.replaceAll(new RegExp(`${escape}\\[[\\d;]*m`, "g"), "")
  );
  assert(coloured.every((line) => line.startsWith(`${escape}[30;107m`) && line.endsWith("[0m")));
  assertEquals(photographed(plain, true), link);
});

Deno.test("qrLines() fits a terminal of 80×24, or says that it doesn't fit", () => {
  const lines = qrLines(link.split("#")[0] ?? "", { hasColours: false, width: 80 }) ?? [];
  assert(lines.length <= 22, String(lines.length));
  assertEquals(qrLines(link, { hasColours: true, width: 20 }), null);
});

/**
 * A text as a QR code (ISO/IEC 18004) for a terminal: two rows of modules in one line of half blocks.
 *
 * Cameras want dark modules on a light ground, whatever the colours of the terminal: with colours they are said
 * to be black on white; without, light modules are drawn, which is right on the usual dark ground.
 */
import encodeQr from "qr";

/** The quiet zone around it; the standard wants 4, readers are content with 2. */
const borderModules = 2;

const blackOnWhite = "\x1b[30;107m";
const usualColours = "\x1b[0m";

export interface QrOptions {
  /** Whether colours may be used. */
  hasColours: boolean;
  /** Columns there are; infinite where nothing has to fit. */
  width: number;
}

/** The matrix; true is dark. */
export function qrModules(text: string): boolean[][] {
  return encodeQr(text, "raw", { border: borderModules, ecc: "low" });
}

/** Lines, or null if it doesn't fit. */
export function qrLines(text: string, { hasColours, width }: QrOptions): string[] | null {
  const modules = qrModules(text);
  if (modules.length > width) return null;
  const lines: string[] = [];
  for (let row = 0; row < modules.length; row += 2) {
    const upper = modules[row] ?? [];
    const lower = modules[row + 1];
    const cells = upper.map((isDark, column) => {
      const isDarkBelow = lower?.[column] ?? !hasColours;
      return hasColours ? cellOf(isDark, isDarkBelow) : cellOf(!isDark, !isDarkBelow);
    });
    lines.push(hasColours ? blackOnWhite + cells.join("") + usualColours : cells.join(""));
  }
  return lines;
}

function cellOf(above: boolean, below: boolean): string {
  if (above) return below ? "█" : "▀";
  return below ? "▄" : " ";
}

/**
 * `deno task picture`: makes `scripts/picture.svg`, the moving picture of the README, from a real run: a tracker and
 * three peers share on this machine, somebody lists and downloads on a terminal of 80 columns, and what that shows is
 * drawn. Only the typing is ours, and the time, of which long pauses are cut.
 */
import { join } from "node:path";
import { Html, html } from "../lib/html.ts";
import { PtySession } from "../tests/pty_session.ts";
import { inPlayground, type Playground, repository } from "../tests/programs.ts";
import { seededBytes } from "../tests/reference_digest.ts";
import { type Cell, TerminalScreen } from "../tests/terminal_screen.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const columns = 80;
const rows = 13;
const cell = { width: 8.4, height: 19 };
const margin = { x: 18, top: 44, bottom: 18 };
const sampleMs = 120;
const typeMs = 45;
const readMs = 1_400;
const maxFrames = 60;

const colours: Record<string, string> = { "31": "r", "32": "g", "33": "y", "1": "b", "2": "d" };

interface Frame {
  atMs: number;
  lines: (readonly Cell[])[];
}

/** The screen as it was, moment by moment. */
class Film {
  readonly #screen = new TerminalScreen(columns, rows);
  readonly frames: Frame[] = [];
  #now = 0;

  show(text: string): void {
    this.#screen.write(text);
    const lines = this.#screen.cells.map((line) => [...line]);
    const last = this.frames.at(-1);
    if (last && JSON.stringify(last.lines) === JSON.stringify(lines)) return;
    this.frames.push({ atMs: this.#now, lines });
  }

  wait(ms: number): void {
    this.#now += ms;
  }

  get lengthMs(): number {
    return this.#now;
  }

  /** A shell's prompt and the line typed at it, in a few steps. */
  type(line: string): void {
    this.show("\x1b[32m$\x1b[39m ");
    this.wait(500);
    for (let at = 0; at < line.length; at += 4) {
      this.show(line.slice(at, at + 4));
      this.wait(typeMs * 4);
    }
    this.show("\r\n");
  }
}

if (import.meta.main) await inPlayground(make);

async function make(place: Playground): Promise<void> {
  const { link } = await place.tracker();
  const film = seededBytes(24_000_000, 7);
  const photos = {
    "photos/beach.jpg": seededBytes(3_400_000, 1),
    "photos/harbour at night.jpg": seededBytes(2_900_000, 2),
    "photos/日本の庭.jpg": seededBytes(4_100_000, 3),
  };
  await place.seeder(await place.directory({ "film.mkv": film, ...photos }), link, [
    "--up",
    "5MiB",
  ]);
  await place.seeder(await place.directory({ "film.mkv": film }), link, ["--up", "2MiB"]);
  await place.listing(link, (found) => found.some(({ seeders }) => seeders === 2));
  const directory = await place.directory();
  const environment = { P2P_TRACKER: link };
  const reel = new Film();
  for (const words of [["list"], ["get", "film.mkv", "photos/"]]) {
    reel.type(`peer ${words.map((word) => word.includes(" ") ? `"${word}"` : word).join(" ")}`);
    await record(
      reel,
      new PtySession(place, ["peer", "--dir", directory, ...words], environment, { columns, rows }),
    );
    reel.wait(readMs);
  }
  reel.wait(2 * readMs);
  const svg = draw(reel).text;
  await Deno.writeTextFile(join(repository, "scripts/picture.svg"), svg);
  console.log(`scripts/picture.svg: ${svg.length} bytes, ${reel.frames.length} frames`);
}

async function record(reel: Film, session: PtySession): Promise<void> {
  let seen = 0;
  let hasEnded = false;
  void session.ended.then(() => hasEnded = true);
  for (let isLast = false; !isLast;) {
    isLast = hasEnded;
    const text = session.screen.slice(seen);
    seen += text.length;
    if (text !== "") {
      reel.show(text);
      reel.wait(2 * sampleMs);
    }
    await new Promise((resolve) => setTimeout(resolve, sampleMs));
  }
}

function draw(reel: Film): Html {
  const width = Math.ceil(columns * cell.width + 2 * margin.x);
  const height = margin.top + rows * cell.height + margin.bottom;
  const frames = thinned(reel.frames);
  const seconds = (reel.lengthMs / 1000).toFixed(2);
  const styles = frames.map((frame, index) => keyframes(index, frame, { frames, reel }));
  return html`
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}"
      height="${height}" role="img" aria-label="peer list and peer get on a terminal">
    <style>
    text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d8dee6;white-space:pre}
    .r{fill:#ff8f87}.g{fill:#5fd08f}.y{fill:#e3b341}.b{font-weight:700;fill:#fff}.d{fill:#77828e}
    .f{visibility:hidden;animation-duration:${seconds}s;animation-iteration-count:infinite;animation-timing-function:step-end}
    ${new Html(styles.join("\n"))}
    @media (prefers-reduced-motion:reduce){.f{animation:none}.f:last-of-type{visibility:visible}}
    </style>
    <rect width="100%" height="100%" rx="10" fill="#12161c"/>
    <g fill="#39424e"><circle cx="22" cy="20" r="6"/><circle cx="42" cy="20" r="6"/><circle cx="62" cy="20" r="6"/></g>
    ${frames.map(({ lines }, index) =>
      html`<g class="f f${index}">${lines.map(drawLine)}</g>\n`
    )}</svg>
  `;
}

/** Every so many frames are enough, the last of each second among them. */
function thinned(frames: readonly Frame[]): Frame[] {
  const step = Math.ceil(frames.length / maxFrames);
  return frames.filter((_, index) => index % step === 0 || index === frames.length - 1);
}

function keyframes(
  index: number,
  { atMs }: Frame,
  { frames, reel }: { frames: Frame[]; reel: Film },
): string {
  const percent = (ms: number) => `${(100 * ms / reel.lengthMs).toFixed(2)}%`;
  const end = frames[index + 1]?.atMs ?? reel.lengthMs;
  const before = atMs === 0 ? "" : "0%{visibility:hidden}";
  const after = end >= reel.lengthMs ? "" : `${percent(end)}{visibility:hidden}`;
  return `@keyframes k${index}{${before}${
    percent(atMs)
  }{visibility:visible}${after}}.f${index}{animation-name:k${index}}`;
}

function drawLine(line: readonly Cell[], row: number): Html | null {
  if (line.every(({ text }) => text.trim() === "")) return null;
  const runs: { style: string; text: string; column: number }[] = [];
  for (const [column, { text, style }] of line.entries()) {
    const last = runs.at(-1);
    // Behind a wide character a new run begins: fonts differ in how wide it is.
    const isAfterWide = line[column - 1]?.text === "" && text !== "";
    if (last?.style === style && !isAfterWide) last.text += text;
    else runs.push({ style, text, column });
  }
  const y = margin.top + (row + 0.75) * cell.height;
  return html`${
    runs.filter(({ text }) => text.trim() !== "").map(({ style, text, column }) => {
      const kind = style.split(";").map((each) => colours[each] ?? "").join(" ").trim();
      const x = (margin.x + column * cell.width).toFixed(1);
      const lead = text.length - text.trimStart().length;
      const shift = (Number(x) + lead * cell.width).toFixed(1);
      return html`
        <text x="${shift}" y="${y.toFixed(0)}" ${kind !== "" && html`
          class="${kind}"
        `}>${text.trim()}</text>
      `;
    })
  }`;
}

/**
 * A real browser for tests of the pages: headless Chromium as Debian has it, driven by playwright-core. Where there is
 * none, `whyNoBrowser` says so, and the tests that need one are skipped.
 */
import { chromium } from "playwright-core";

const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const executablePath = Deno.env.get("CHROMIUM") ?? places.find((path) => exists(path));

/** Why there is no browser here; null if there is. */
export const whyNoBrowser: string | null = executablePath === undefined
  ? "there is no Chromium (apt-get install chromium)"
  : null;

type Browser = Awaited<ReturnType<typeof chromium.launch>>;

export async function withBrowser(work: (browser: Browser) => Promise<void>): Promise<void> {
  // Root, in containers, can't have Chromium's own sandbox; all pages here are our own.
  const args = ["--no-sandbox", "--disable-dev-shm-usage"];
  const browser = await chromium.launch({ executablePath: executablePath ?? "", args });
  try {
    await work(browser);
  } finally {
    await browser.close();
  }
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

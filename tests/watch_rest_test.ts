import { assertEquals } from "@std/assert";
import { WatchRest } from "../lib/watch_rest.ts";
import { eventually } from "./programs.ts";

interface Scene {
  rest: WatchRest;
  heard: string[];
}

function sceneOf(fileCount: number): Scene {
  const heard: string[] = [];
  const rest = new WatchRest({
    watch: { pause: () => void heard.push("pause"), resume: () => void heard.push("resume") },
    fileCount: () => fileCount,
    onRested: () => void heard.push("rested"),
  });
  return { rest, heard };
}

function noteFiles({ rest }: Scene, count: number): void {
  for (let at = 0; at < count; at++) rest.noteFile();
}

Deno.test("WatchRest pauses the watch while many files come, and has everything looked at then", async () => {
  const scene = sceneOf(300);
  noteFiles(scene, 255);
  assertEquals(scene.heard, []);
  noteFiles(scene, 200);
  assertEquals(scene.heard, ["pause"]);
  await eventually("the end of the rest", () => Promise.resolve(scene.heard.length === 3));
  assertEquals(scene.heard, ["pause", "resume", "rested"]);
  noteFiles(scene, 255);
  assertEquals(scene.heard.length, 3);
  scene.rest.close();
});

Deno.test("WatchRest lets the watch go on where to look at everything would cost more", () => {
  const scene = sceneOf(2000);
  noteFiles(scene, 499);
  assertEquals(scene.heard, []);
  noteFiles(scene, 1);
  assertEquals(scene.heard, ["pause"]);
  scene.rest.close();
});

Deno.test("WatchRest ends a rest after a while though files go on coming", async () => {
  const scene = sceneOf(0);
  const coming = setInterval(() => noteFiles(scene, 30), 20);
  try {
    await eventually("the end of the rest", () => Promise.resolve(scene.heard.includes("rested")));
  } finally {
    clearInterval(coming);
    scene.rest.close();
  }
});

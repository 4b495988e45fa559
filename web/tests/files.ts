import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";

export interface TestFile {
  name: string;
  mimeType: string;
  buffer: Buffer;
}

export function sample(name: string): string {
  return fileURLToPath(new URL(`../../samples/${name}`, import.meta.url));
}

function testData(name: string): string {
  return fileURLToPath(new URL(`../../tests/data/${name}`, import.meta.url));
}

/** Write a recording of so many seconds of speech, which keeps the server busy; returns its path. */
export function longSpeech(path: string, seconds: number): string {
  const wav = readFileSync(testData("speech.wav"));
  const start = wav.indexOf("data") + 8;
  const samples = wav.subarray(start);
  const bytesPerSecond = wav.readUInt32LE(28);
  const repeated = Buffer.concat(Array<Buffer>(Math.ceil((seconds * bytesPerSecond) / samples.length)).fill(samples));
  const header = Buffer.from(wav.subarray(0, start));
  header.writeUInt32LE(repeated.length, start - 4);
  header.writeUInt32LE(repeated.length + start - 8, 4);
  writeFileSync(path, Buffer.concat([header, repeated]));
  return path;
}

/** Open the page and choose files, as the button "Choose files" does. */
export async function choose(page: Page, files: string | string[] | TestFile): Promise<void> {
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Choose files" }).click();
  await (await choosing).setFiles(files);
}

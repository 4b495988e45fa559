import { readFileSync } from "node:fs";
import { expect, type Page } from "@playwright/test";

import { expectAccessible, expectNoSidewaysScrolling } from "./axe";
import { choose, sample } from "./files";
import { screenshot } from "./screenshot";
import { test } from "./server";

test.beforeEach(async ({ page }) => {
  await page.goto("/app/");
  await expect(page.getByRole("button", { name: "Ready (small models)" })).toBeVisible();
});

const CLOCK = /^\d+:\d\d$/;

/** The texts that an element has shown, one after another. */
async function textsOf(page: Page, selector: string): Promise<() => Promise<string[]>> {
  await page.evaluate((selector) => {
    const texts: string[] = ((window as unknown as { texts: string[] }).texts = []);
    new MutationObserver(() => {
      const text = document.querySelector(selector)?.textContent;
      if (text && text !== texts.at(-1)) texts.push(text);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  }, selector);
  return () => page.evaluate(() => (window as unknown as { texts: string[] }).texts);
}

test("a picture is described word by word, and asked about", async ({ page, request }, info) => {
  const shown = await textsOf(page, "[aria-live]");
  await choose(page, sample("picture.jpg"));
  const card = page.getByRole("article", { name: "picture.jpg" });
  await expect(card.getByText("moondream-mini")).toBeVisible();
  const plain = await request.post("/api/analyze/image", {
    multipart: { image: { name: "picture.jpg", mimeType: "image/jpeg", buffer: readFileSync(sample("picture.jpg")) } },
  });
  const { description } = (await plain.json()) as { description: string };
  const texts = await shown();
  expect(texts.at(-1)).toBe(description);
  expect(texts.length).toBeGreaterThan(1);
  for (const [index, text] of texts.entries()) expect(texts[index + 1] ?? description).toContain(text);

  await card.getByRole("textbox", { name: "Ask about picture.jpg" }).fill("How many shapes are there?");
  await card.getByRole("button", { name: "Ask" }).click();
  const answer = card.getByRole("region", { name: "How many shapes are there?" });
  await expect(answer.getByText("moondream-mini")).toBeVisible();
  await expectAccessible(page);
  await screenshot(page, "picture", info);
});

test("a video has its frames on a timeline and its transcript beside it; a click seeks", async ({ page }, info) => {
  await choose(page, sample("clip.mp4"));
  const card = page.getByRole("article", { name: "clip.mp4" });
  await expect(card.getByRole("heading", { name: "Summary" })).toBeVisible();
  const frames = card.getByRole("region", { name: "Frames" }).getByRole("listitem");
  await expect(frames).toHaveCount(5);
  const last = frames.last();
  const [minutes, seconds] = (await last.getByText(CLOCK).innerText()).split(":").map(Number);
  await last.getByRole("button").click();
  const player = card.getByLabel("Player of clip.mp4");
  const time = () => player.evaluate((video: HTMLVideoElement) => video.currentTime);
  await expect.poll(time).toBeGreaterThanOrEqual(minutes! * 60 + seconds!);
  await expect(last.getByRole("button")).toHaveAttribute("aria-current", "true");
  await expect(card.getByRole("list", { name: "Transcript" }).getByRole("button").first()).toBeVisible();
  // The frames' pictures are decoded: they are not one colour.
  await expect.poll(() => frames.first().locator("canvas").evaluate(numColours)).toBeGreaterThan(10);
  await player.evaluate((video: HTMLVideoElement) => {
    video.pause();
    video.currentTime = 13;
  });
  await expectAccessible(page);
  await page.setViewportSize({ width: 1280, height: 1040 });
  await screenshot(page, "video", info);
});

test("the segments of a recording follow playback and start it", async ({ page }) => {
  await choose(page, sample("recording.mp3"));
  const card = page.getByRole("article", { name: "recording.mp3" });
  await expect(card.getByText("whisper-mini")).toBeVisible();
  const segments = card.getByRole("list", { name: "Transcript" }).getByRole("button");
  expect(await segments.count()).toBeGreaterThan(1);
  await segments.last().click();
  await expect(segments.last()).toHaveAttribute("aria-current", "true");
  await expect(segments.first()).toHaveAttribute("aria-current", "false");
  const player = card.getByLabel("Player of recording.mp3");
  await player.evaluate((audio: HTMLAudioElement) => {
    audio.pause();
    audio.currentTime = 0.5;
  });
  await expect(segments.last()).toHaveAttribute("aria-current", "false");
  await expectAccessible(page);
});

test("several files that are dropped at once are a batch with a row for each", async ({ page }) => {
  const files = ["picture.jpg", "recording.mp3", "clip.mp4"].map((name) => ({
    name,
    base64: readFileSync(sample(name)).toString("base64"),
  }));
  const dropped = await page.evaluateHandle(async (files) => {
    const types: Record<string, string> = { jpg: "image/jpeg", mp3: "audio/mpeg", mp4: "video/mp4" };
    const transfer = new DataTransfer();
    for (const { name, base64 } of [...files, { name: "broken.png", base64: btoa("not a picture") }]) {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      transfer.items.add(new File([bytes], name, { type: types[name.split(".")[1]!] ?? "image/png" }));
    }
    return transfer;
  }, files);
  await page.dispatchEvent("body", "drop", { dataTransfer: dropped });

  const card = page.getByRole("article", { name: "4 files" });
  const row = (name: string) => card.getByRole("listitem").filter({ hasText: name });
  for (const { name } of files) await expect(row(name).getByText("done", { exact: true })).toBeVisible();
  await expect(row("broken.png").getByText("failed", { exact: true })).toBeVisible();
  await row("recording.mp3").locator("summary").first().click();
  await expect(row("recording.mp3").getByLabel("Player of recording.mp3")).toBeVisible();
  await row("broken.png").locator("summary").first().click();
  await expect(row("broken.png").getByRole("alert")).toContainText("INVALID_FILE_TYPE");
  await expectAccessible(page);
});

test("a picture is pasted", async ({ page }) => {
  const base64 = readFileSync(sample("picture.jpg")).toString("base64");
  await page.evaluate((base64) => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    transfer.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
    window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
  }, base64);
  await expect(page.getByRole("article", { name: "pasted.jpg" }).getByText("moondream-mini")).toBeVisible();
});

test("everything is done with the keyboard alone, also on a phone", async ({ page }, info) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await expect(page.getByRole("button", { name: "Choose files" })).toBeFocused();
  const choosing = page.waitForEvent("filechooser");
  await page.keyboard.press("Enter");
  await (await choosing).setFiles(sample("recording.mp3"));
  const card = page.getByRole("article", { name: "recording.mp3" });
  await expect(card.getByText("whisper-mini")).toBeVisible();
  const segment = card.getByRole("list", { name: "Transcript" }).getByRole("button").last();
  for (let press = 0; press < 30 && !(await segment.evaluate((each) => each === document.activeElement)); press++) {
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await expect(segment).toHaveAttribute("aria-current", "true");
  await expectNoSidewaysScrolling(page);
  await expectAccessible(page);
  await page.getByLabel("Player of recording.mp3").evaluate((audio: HTMLAudioElement) => audio.pause());
  await screenshot(page, "phone", info);
});

test("analyses stay while the user looks at the library, and nothing comes from elsewhere", async ({ page, baseURL }) => {
  const elsewhere: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(baseURL!) && !/^(blob|data):/.test(request.url())) elsewhere.push(request.url());
  });
  const complaints: string[] = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.reload();
  await choose(page, sample("picture.jpg"));
  await page.getByRole("link", { name: "Library" }).click();
  await expect(page).toHaveURL(/\/app\/library\/$/);
  await page.getByRole("link", { name: "Analyse" }).click();
  await expect(page.getByRole("article", { name: "picture.jpg" }).getByText("moondream-mini")).toBeVisible();
  expect(elsewhere).toEqual([]);
  expect(complaints).toEqual([]);
});

function numColours(canvas: HTMLCanvasElement | SVGElement): number {
  if (!(canvas instanceof HTMLCanvasElement) || canvas.width === 0) return 0;
  const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}

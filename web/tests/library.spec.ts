/** The library in the browser: samples of each kind are put in, found, and shown at the very place. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { expect, type Locator, type Page } from "@playwright/test";

import { expectAccessible, expectNoSidewaysScrolling } from "./axe";
import { sample } from "./files";
import { screenshot } from "./screenshot";
import { test } from "./server";

const SAMPLES = ["article.pdf", "rules.docx", "picture.jpg", "recording.mp3", "clip.mp4"];
/** The models load at their first use. */
const INDEXING_MS = 60_000;

test.describe.configure({ mode: "serial", timeout: INDEXING_MS + 30_000 });

let page: Page;
let folder: string;

test.beforeAll(async ({ browser }) => {
  folder = join(mkdtempSync(join(tmpdir(), "library-")), "Things");
  mkdirSync(join(folder, "Papers"), { recursive: true });
  for (const name of SAMPLES) cpSync(sample(name), join(folder, /pdf|docx/.test(name) ? "Papers" : "", name));
  writeFileSync(join(folder, "damaged.pdf"), "%PDF-1.4\nthis is not the rest of a PDF\n");
  writeFileSync(join(folder, "program.bin"), Buffer.from([0, 1, 2, 3, 255, 254, 0, 7]));
  writeFileSync(join(folder, ".hidden.txt"), "Nobody wants this in the library.");
  page = await (await browser.newContext()).newPage();
  await page.goto("/app/library/");
});

test.afterAll(async () => {
  await page.context().close();
  rmSync(resolve(folder, ".."), { recursive: true });
});

test("a dropped folder is sent, and each file is followed until it is indexed", async () => {
  const stages = await page.evaluateHandle(collectStages);
  await dropFiles(page.getByRole("heading", { name: "Ask the library" }), [folder]);

  await expect(page.getByText("6 added, 1 refused.")).toBeVisible({ timeout: 20_000 });
  const refusal = page.getByRole("alert").filter({ hasText: "program.bin" });
  await expect(refusal).toContainText("Things/program.bin");
  await expect(refusal).toContainText("Supported: PDF");
  await expect(page.getByText("6 files, all indexed.")).toBeVisible({ timeout: INDEXING_MS });
  expect(await stages.evaluate((seen) => [...seen].join())).toMatch(/Reading|Describing|Transcribing/);
  for (const name of SAMPLES) await expect(file(name)).toContainText(/Indexed, \d+ passages?/);
  await expect(file("Things/Papers/article.pdf")).toContainText("Document, ");
  await expect(file(".hidden.txt")).toHaveCount(0);
});

test("a file that cannot be indexed says why, and is tried again on demand", async () => {
  await expect(file("damaged.pdf")).toContainText("Not indexed: ");
  const retried = page.waitForResponse((response) => response.url().endsWith("/retry"));
  await page.getByRole("button", { name: "Try again: damaged.pdf" }).click();
  expect((await retried).status()).toBe(200);
  await expect(file("damaged.pdf")).toContainText("Not indexed: ");
});

test("what the library has already is not sent again", async () => {
  const uploads: string[] = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/upload")) uploads.push(request.url());
  });
  await page.getByLabel("Choose files").setInputFiles(SAMPLES.map((name) => sample(name)));
  await expect(page.getByText("0 added, 5 already there.")).toBeVisible();
  expect(uploads).toEqual([]);
});

test("a busy server is asked again after the time that it names", async () => {
  const busy = { success: false, error: { code: "SERVER_BUSY", message: "Too many requests wait." }, timestamp: "" };
  await page.route("**/upload", (route) => route.fulfill({ status: 503, headers: { "Retry-After": "1" }, json: busy }), {
    times: 1,
  });
  await page.getByLabel("Choose files").setInputFiles({
    name: "note.txt",
    mimeType: "text/plain",
    buffer: Buffer.from("The key of the boathouse hangs behind the clock."),
  });
  await expect(page.getByText("The server is busy")).toBeVisible();
  await expect(page.getByText("1 added.")).toBeVisible();
});

test("a citation shows the page with the words marked, and the keyboard leads back", async ({}, info) => {
  await ask("What was the radio dish built from?");
  const citation = page.getByRole("button", { name: /^Source 1: article\.pdf, page \d/ });
  await expect(search().getByText("the answer quotes the passages")).toBeVisible(); // the answer is complete
  await page.evaluate(() => scrollTo(0, 0));
  await screenshot(page, "library", info);
  await citation.press("Enter");

  const viewer = page.getByRole("dialog");
  await expect(viewer.getByRole("heading")).toHaveText(/^article\.pdf, page \d/);
  const picture = viewer.getByRole("img", { name: /^Page \d of article\.pdf, with the words marked/ });
  await expect(picture).toHaveJSProperty("complete", true);
  expect(await picture.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBeGreaterThan(500);
  expect(await numYellowPixels(picture)).toBeGreaterThan(500);
  await expect(viewer.locator("mark")).not.toBeEmpty();
  await page.setViewportSize({ width: 860, height: 520 });
  await screenshot(page, "citation", info);
  await page.setViewportSize({ width: 1280, height: 720 });
  await expectAccessible(page);

  await page.keyboard.press("Escape");
  await expect(viewer).toHaveCount(0);
  await expect(citation).toBeFocused();
});

test("a passage of a document without pages is shown between its neighbours", async () => {
  await ask("Who may light the furnace?");
  await page.getByRole("button", { name: /^Source 1: rules\.docx, .*paragraph \d/ }).click();
  const text = page.getByRole("dialog").getByRole("group", { name: "The text around it" });
  await expect(text.locator("mark")).toContainText("furnace");
  await page.getByRole("button", { name: "Close" }).click();
});

test("a citation of a recording plays it from the moment on", async () => {
  await ask("Which trees are in bloom?");
  await page.getByRole("button", { name: /^Source 1: recording\.mp3, \d+:\d\d/ }).click();
  await expectPlaysFromMoment("audio");
});

test("a passage of a video plays from its scene on", async () => {
  await page.getByRole("checkbox", { name: "Videos" }).check();
  await ask("red circle");
  await page.getByRole("button", { name: /^clip\.mp4/ }).first().click();
  await expectPlaysFromMoment("video");
  await page.getByRole("checkbox", { name: "Videos" }).uncheck();
});

test("an earlier search is made again, and all are forgotten", async () => {
  await page.getByText("Earlier searches").click();
  await page.getByRole("button", { name: "Who may light the furnace?" }).click();
  await expect(page.getByRole("button", { name: /^Source 1: rules\.docx/ })).toBeVisible();
  await page.getByRole("button", { name: "Forget them all" }).click();
  await expect(page.getByText("There are none")).toBeVisible();
});

test("a search is stopped", async () => {
  await page.route("**/search", () => undefined, { times: 1 }); // no answer comes
  const cancelled = page.waitForEvent("requestfailed");
  await ask("What was the radio dish built from?");
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(page.getByText("Stopped.")).toBeVisible();
  expect((await cancelled).failure()?.errorText).toBe("net::ERR_ABORTED");
});

test("a question that nothing answers gets no citation", async () => {
  await ask("What does the submarine cable to Iceland cost?");
  await expect(page.getByText(/^(Nothing in the library answers this|The library has passages near)/)).toBeVisible();
  await expect(page.getByRole("button", { name: /^Source/ })).toHaveCount(0);
});

test("a file is deleted once that is confirmed", async () => {
  await page.getByRole("button", { name: "Delete picture.jpg" }).click();
  await page.keyboard.press("Escape");
  await expect(file("picture.jpg")).toBeVisible();
  await page.getByRole("button", { name: "Delete picture.jpg" }).click();
  await page.getByRole("button", { name: "Delete from the library" }).click();
  await expect(file("picture.jpg")).toHaveCount(0);
  await expect(page.getByRole("heading", { name: "Files" })).toBeFocused();
});

test("without a connection the page says so, and goes on by itself", async () => {
  await page.context().setOffline(true);
  await page.getByLabel("Choose files").setInputFiles(sample("picture.jpg"));
  const interrupted = page.getByRole("alert").filter({ hasText: "Not sent yet: 1 file." });
  await expect(interrupted).toContainText("The server does not answer.");
  await page.getByRole("button", { name: "Search" }).click();
  await expect(search().getByRole("alert")).toContainText("prism serve");

  await page.context().setOffline(false);
  await page.getByRole("button", { name: "Go on" }).click();
  await expect(page.getByText("1 added.")).toBeVisible();
  await expect(file("picture.jpg")).toContainText("Indexed", { timeout: INDEXING_MS });
});

test("axe finds nothing, and nothing is cut off on a phone", async () => {
  await ask("What was the radio dish built from?");
  await expect(page.getByRole("button", { name: /^Source 1/ })).toBeVisible();
  await page.setViewportSize({ width: 360, height: 740 });
  await expectNoSidewaysScrolling(page);
  await expectAccessible(page);
});

/** In the page: the names of all progress bars of files from now on. Each may be there for a moment only. */
function collectStages(): Set<string> {
  const seen = new Set<string>();
  const collect = () => {
    for (const bar of document.querySelectorAll("li progress")) seen.add(bar.ariaLabel ?? "");
  };
  new MutationObserver(collect).observe(document.body, { subtree: true, childList: true, attributes: true });
  return seen;
}

/** Drop files and folders as a file manager does. */
async function dropFiles(target: Locator, files: string[]) {
  const box = await target.boundingBox();
  if (!box) throw new Error("the target of the drop is not visible");
  const devtools = await page.context().newCDPSession(page);
  const where = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await devtools.send("Input.dispatchDragEvent", { type, ...where, data });
  }
}

async function ask(question: string) {
  await page.getByRole("searchbox", { name: "Question or words" }).fill(question);
  await page.getByRole("button", { name: "Search" }).click();
}

function search(): Locator {
  return page.getByRole("region", { name: "Ask the library" });
}

function file(name: string): Locator {
  return page.getByRole("region", { name: "Files" }).getByRole("listitem").filter({ hasText: name });
}

async function expectPlaysFromMoment(tag: "audio" | "video") {
  const dialog = page.getByRole("dialog");
  const again = dialog.getByRole("button", { name: /^Play from \d+:\d\d again/ });
  const [minutes, seconds] = (await again.innerText()).match(/\d+/g)?.map(Number) ?? [];
  const start = 60 * (minutes ?? NaN) + (seconds ?? NaN);
  const player = dialog.locator(tag);
  const time = () => player.evaluate((media: HTMLMediaElement) => media.currentTime);
  await expect.poll(time).toBeGreaterThan(start);
  await expect.poll(() => player.evaluate((media: HTMLMediaElement) => media.played.length)).toBe(1);
  await player.evaluate((media: HTMLMediaElement) => {
    media.currentTime = 0;
  });
  await again.click();
  await expect.poll(time).toBeGreaterThan(start);
  await page.keyboard.press("Escape");
  await expect(dialog).toHaveCount(0);
}

/** Count the pixels of the colour with which the server marks words on white paper. */
async function numYellowPixels(picture: Locator): Promise<number> {
  return picture.evaluate((image: HTMLImageElement) => {
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no canvas");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let index = 0; index < data.length; index += 4) {
      const [red = 0, green = 0, blue = 0] = data.subarray(index, index + 3);
      if (red > 200 && green > 180 && blue < 180) count++;
    }
    return count;
  });
}

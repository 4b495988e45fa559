import { expect } from "@playwright/test";

import { expectAccessible } from "./axe";
import { choose, longSpeech, sample, type TestFile } from "./files";
import { test } from "./server";

test.beforeEach(({ page }) => page.goto("/app/"));

const LONG_SECONDS = 400;

test("a cancelled analysis ends on the server, and starts again", async ({ page, request }, info) => {
  await choose(page, longSpeech(info.outputPath("long.wav"), LONG_SECONDS));
  const card = page.getByRole("article", { name: "long.wav" });
  // The first segment is there long before the last.
  await expect(card.getByRole("list", { name: "Transcript" }).getByRole("listitem").first()).toBeVisible();
  await expect(card.getByText(/^Transcribing, \d+ %/)).toBeVisible();
  await card.getByRole("button", { name: "Cancel long.wav" }).click();
  await expect(card.getByText("Cancelled.")).toBeVisible();
  const queued = async () => ((await (await request.get("/api/health")).json()) as Health).queue.requests;
  await expect.poll(queued).toBe(0);
  const again = card.getByRole("button", { name: "Start again long.wav" });
  await expect(again).toBeFocused();
  await again.click();
  await expect(card.getByRole("button", { name: "Cancel long.wav" })).toBeVisible();
  await card.getByRole("button", { name: "Remove long.wav" }).click();
  await expect(page.getByRole("main")).toBeFocused();
  await expect.poll(queued).toBe(0);
});

interface Health {
  queue: { requests: number };
}

test("the page shows its place in the queue, and what a full queue answers", async ({ page }, info) => {
  const chooseLong = (name: string) => choose(page, longSpeech(info.outputPath(name), LONG_SECONDS));
  await chooseLong("long.wav");
  const first = page.getByRole("article", { name: "long.wav" });
  await expect(first.getByText(/^Transcribing/)).toBeVisible();
  await chooseLong("second.wav");
  const second = page.getByRole("article", { name: "second.wav" });
  await expect(second.getByText("Waiting: it is next")).toBeVisible();
  const state = page.getByRole("button", { name: "Ready (small models)" });
  await state.click();
  await expect(page.getByText("2 of 2 places taken")).toBeVisible();
  await page.keyboard.press("Escape");
  await chooseLong("third.wav");
  const third = page.getByRole("article", { name: "third.wav" });
  await expect(third.getByRole("alert")).toContainText("The server's queue is full");
  await expect(third.getByRole("alert")).toContainText(/about \d+ s/);
  for (const name of ["long.wav", "second.wav"]) await page.getByRole("button", { name: `Remove ${name}` }).click();
  await state.click();
  await expect(page.getByText("0 of 2 places taken")).toBeVisible();
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await third.getByRole("button", { name: "Try again" }).click();
  await expect(third.getByText(/^Transcribing/)).toBeVisible();
  await page.getByRole("button", { name: "Remove third.wav" }).click();
});

test("a file of the wrong type and one that is too large are refused with the server's words", async ({ page }) => {
  const text: TestFile = { name: "text.jpg", mimeType: "image/jpeg", buffer: Buffer.from("These are words. ".repeat(9)) };
  await choose(page, text);
  const wrong = page.getByRole("article", { name: "text.jpg" }).getByRole("alert");
  await expect(wrong).toContainText("The content looks like text");
  await choose(page, { ...text, name: "large.jpg", buffer: Buffer.alloc(3 << 20, 255) });
  const large = page.getByRole("article", { name: "large.jpg" }).getByRole("alert");
  await expect(large).toContainText("exceeds maximum allowed size of 1 MB");
});

test("what the name shows to be no medium is not sent", async ({ page }) => {
  await choose(page, sample("article.pdf"));
  await expect(page.getByRole("alert").filter({ hasText: "article.pdf" })).toContainText("Library");
  await expect(page.getByRole("article")).toHaveCount(0);
});

import { expect } from "@playwright/test";

import { expectAccessible } from "./axe";
import { test } from "./server";

// Chromium's fake devices: a moving test picture, and tests/data/speech.wav as what the microphone hears.

test.beforeEach(({ page }) => page.goto("/app/"));

test("a recording of the microphone is transcribed, and its segments seek", async ({ page }) => {
  await page.getByRole("button", { name: "Record sound" }).click();
  const dialog = page.getByRole("dialog", { name: "Record sound" });
  await expectAccessible(page);
  await dialog.getByRole("button", { name: "Start recording" }).click();
  await page.waitForTimeout(4000); // what is said takes 3 s
  await dialog.getByRole("button", { name: "Stop and analyse" }).click();
  await expect(dialog).toBeHidden();
  const card = page.getByRole("article", { name: /^recording .*\.webm$/ });
  await expect(card.getByText("whisper-mini")).toBeVisible();
  const segment = card.getByRole("list", { name: "Transcript" }).getByRole("button").first();
  await expect(segment).toContainText(/\w+ \w+/);
  const player = card.getByLabel(/Player of recording/);
  await expect.poll(() => player.evaluate((audio: HTMLAudioElement) => audio.duration)).toBeLessThan(10);
  await segment.click();
  await expect(segment).toHaveAttribute("aria-current", "true");
});

test("a picture of the camera is described", async ({ page }) => {
  await page.getByRole("button", { name: "Take a picture" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Take the picture" }).click();
  const card = page.getByRole("article", { name: /^picture .*\.jpg$/ });
  await expect(card.getByText("moondream-mini")).toBeVisible();
  const width = () => card.getByRole("img").evaluate((image: HTMLImageElement) => image.naturalWidth);
  await expect.poll(width).toBeGreaterThan(100);
});

test("no picture can be taken before the camera shows one", async ({ page }) => {
  // A camera that shows its first picture when it is told to.
  await page.addInitScript(() => {
    const canvas = document.createElement("canvas");
    canvas.width = 320;
    canvas.height = 240;
    const pen = canvas.getContext("2d")!;
    const stream = canvas.captureStream(0);
    navigator.mediaDevices.getUserMedia = () => Promise.resolve(stream);
    window.addEventListener("show-picture", () => {
      pen.fillRect(0, 0, 160, 120);
      (stream.getVideoTracks()[0] as CanvasCaptureMediaStreamTrack).requestFrame();
    });
  });
  await page.reload();
  await page.getByRole("button", { name: "Take a picture" }).click();
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByRole("status")).toHaveText("Waiting for the camera.");
  await expect(dialog.getByRole("button", { name: "Take the picture" })).toBeDisabled();
  await page.evaluate(() => window.dispatchEvent(new Event("show-picture")));
  await dialog.getByRole("button", { name: "Take the picture" }).click();
  const card = page.getByRole("article", { name: /^picture .*\.jpg$/ });
  await expect(card.getByText("moondream-mini")).toBeVisible();
});

test("a video of camera and microphone is analysed", async ({ page }) => {
  await page.getByRole("button", { name: "Record a video" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Start recording" }).click();
  await page.waitForTimeout(2000);
  await dialog.getByRole("button", { name: "Stop and analyse" }).click();
  const card = page.getByRole("article", { name: /^recording .*\.webm$/ });
  await expect(card.getByRole("heading", { name: "Summary" })).toBeVisible();
  await expect(card.getByRole("region", { name: "Frames" }).getByRole("listitem")).not.toHaveCount(0);
});

test("Escape closes the dialog, turns the microphone off and returns to the button", async ({ page }) => {
  const button = page.getByRole("button", { name: "Record sound" });
  await button.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByRole("button", { name: "Start recording" }).click();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(button).toBeFocused();
  await expect(page.getByRole("article")).toHaveCount(0);
});

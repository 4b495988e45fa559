import { defineConfig } from "@playwright/test";

const AUDIO_OF_THE_FAKE_MICROPHONE = new URL("../tests/data/speech.wav", import.meta.url).pathname;

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results",
  // All tests share one server (tests/server.ts), and the last one restarts it.
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  forbidOnly: true,
  reporter: "list",
  use: {
    browserName: "chromium",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        `--use-file-for-fake-audio-capture=${AUDIO_OF_THE_FAKE_MICROPHONE}`,
      ],
    },
  },
});

import { expect } from "@playwright/test";

import { choose, sample } from "./files";
import { test } from "./server";

test("a server that ends and starts again is shown, and recovered from", async ({ page, server }) => {
  test.setTimeout(300_000);
  await page.goto("/app/");
  const library = await page.context().newPage();
  await library.goto("/app/library/");
  await expect(library.getByText(/all indexed|The library is empty/)).toBeVisible();
  await server.stop();
  await expect(library.getByText("The connection to the server is lost.")).toBeVisible();
  await expect(page.getByRole("button", { name: "The server does not answer" })).toBeVisible();
  await choose(page, sample("picture.jpg"));
  const card = page.getByRole("article", { name: "picture.jpg" });
  await expect(card.getByRole("alert")).toContainText("prism serve");
  await server.start();
  await expect(page.getByRole("button", { name: "Ready (small models)" })).toBeVisible();
  await card.getByRole("button", { name: "Try again" }).click();
  await expect(card.getByText("moondream-mini")).toBeVisible();
  // The library of the server that is started again is a new one.
  await expect(library.getByText("The library is empty.")).toBeVisible();
  await expect(library.getByText("The connection to the server is lost.")).toHaveCount(0);
});

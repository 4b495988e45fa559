import { fileURLToPath } from "node:url";
import type { Page, TestInfo } from "@playwright/test";

/** Save a picture of the window: with SCREENSHOTS=1 the one that the documents show. */
export async function screenshot(page: Page, name: string, info: TestInfo): Promise<void> {
  const documents = fileURLToPath(new URL(`../../docs/page/${name}.png`, import.meta.url));
  await page.screenshot({ path: process.env.SCREENSHOTS ? documents : info.outputPath(`${name}.png`) });
}

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { test as base } from "@playwright/test";

const PORT = Number(process.env.TEST_PORT ?? 8110);
const PROGRAM = fileURLToPath(new URL("serve.py", import.meta.url));

/** The server of the tests: the miniature models, room for one analysis and one that waits, and pictures of up to 1 MB. */
export class TestServer {
  readonly url = `http://127.0.0.1:${PORT}`;
  private process: ChildProcess | null = null;

  /** Resolves when the server is ready. */
  async start(): Promise<void> {
    this.process = spawn("python", [PROGRAM, String(PORT)], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(this.process, "exit").then(() => {
      throw new Error("The server of the tests did not start.");
    });
    await Promise.race([once(this.process.stdout!, "data"), ended]);
    ended.catch(() => undefined);
  }

  /** Resolves when all its processes have ended. */
  async stop(): Promise<void> {
    if (!this.process || this.process.exitCode !== null) return;
    const ended = once(this.process, "exit");
    this.process.kill("SIGTERM");
    await ended;
  }
}

/** Playwright's `test`, with the server, which all tests share. */
export const test = base.extend<object, { server: TestServer }>({
  server: [
    async ({}, use) => {
      const server = new TestServer();
      await server.start();
      await use(server);
      await server.stop();
    },
    { scope: "worker", timeout: 300_000 },
  ],
  baseURL: async ({ server }, use) => use(server.url),
});

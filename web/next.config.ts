import { readFileSync } from "node:fs";
import type { NextConfig } from "next";
import { PHASE_DEVELOPMENT_SERVER } from "next/constants";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };

/** The server shows the exported page at /app/; `npm run dev` shows it at http://localhost:3000/. */
export default function config(phase: string): NextConfig {
  return {
    output: "export",
    basePath: phase === PHASE_DEVELOPMENT_SERVER ? undefined : "/app",
    trailingSlash: true,
    reactStrictMode: true,
    poweredByHeader: false,
    // A random id would make each build different.
    generateBuildId: () => version,
  };
}

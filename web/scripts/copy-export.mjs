// Copies the static export to where the server takes it from, without the pages of 404: there the API's JSON is right.
import { cpSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const target = fileURLToPath(new URL("../../serve_app/page", import.meta.url));

rmSync(target, { recursive: true, force: true });
cpSync(fileURLToPath(new URL("../out", import.meta.url)), target, {
  recursive: true,
  filter: (path) => !/\/(404|404\.html|_not-found)$/.test(path),
});

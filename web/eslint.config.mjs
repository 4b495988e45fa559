import reactHooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: [".next/", "out/", "next-env.d.ts", "lib/schema.ts", "test-results/"] },
  tseslint.configs.strict,
  reactHooks.configs.flat.recommended,
  {
    // Playwright's fixtures call a function `use`, which is no hook.
    files: ["tests/**"],
    rules: { "react-hooks/rules-of-hooks": "off", "@typescript-eslint/no-non-null-assertion": "off" },
  },
);

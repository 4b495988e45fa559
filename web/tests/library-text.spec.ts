/** How the library's answers and places become text; no browser is needed. */
import { expect, test } from "@playwright/test";

import { readSentence } from "../lib/answer";
import { describePlace, splitAtQuote } from "../lib/places";

test("only the numbers at the end of a sentence are citations", () => {
  expect(readSentence(" As reference [3] says, it rains. [1][12]")).toEqual({
    text: "As reference [3] says, it rains.",
    citations: [1, 12],
  });
  expect(readSentence("See [2] [1]")).toEqual({ text: "See [2]", citations: [1] });
  expect(readSentence("Nothing in the library answers this.").citations).toEqual([]);
});

test("quoted characters are counted as the API counts them", () => {
  expect(splitAtQuote("🌳🌳 in bloom, 🌷 too", [3, 11])).toEqual(["🌳🌳 ", "in bloom", ", 🌷 too"]);
  expect(splitAtQuote("All of it", null)).toEqual(["All of it", "", ""]);
});

test("a place is described in words", () => {
  expect(describePlace({ type: "document", page: 5, printed_page: "iv" })).toBe("page 5 (printed: iv)");
  expect(describePlace({ type: "document", heading: ["2 Budget", "2.1 Travel"], paragraph: 17 })).toBe(
    "2 Budget › 2.1 Travel › paragraph 17",
  );
  expect(describePlace({ type: "audio", start: 734.2, end: 741 })).toBe("12:14–12:21");
  expect(describePlace({ type: "video", start: 3, end: 3, origin: "on-screen text" })).toBe("0:03, text on screen");
  expect(describePlace({ type: "image" })).toBe("description of the picture");
});

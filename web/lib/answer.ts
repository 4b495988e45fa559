/** The sentences of an answer, and the numbers of the citations that back each. */

export interface Sentence {
  text: string;
  citations: number[];
}

/** What stands at the end of a cited sentence: " [1][2]". The same inside of a sentence is the sentence's own text. */
const CITATIONS = / ((?:\[\d+\])+)$/;

/** Read one `token` event of a search: the API sends each sentence whole, once it is checked. */
export function readSentence(token: string): Sentence {
  const text = token.trim();
  const found = CITATIONS.exec(text);
  if (!found?.[1]) return { text, citations: [] };
  return {
    text: text.slice(0, found.index),
    citations: Array.from(found[1].matchAll(/\d+/g), ([number]) => Number(number)),
  };
}

"""Whether passages say what a sentence says, and the very words that do.

A sentence is supported if one sentence of a passage, or two that follow one another, have

- every number of it, in whatever way it is written, with the same unit, and beside the same word ("4 wins and 12
  losses" does not back "12 wins");
- every name of it; one that the question has may also stand elsewhere in the passage or in the file's title, unless the
  backing sentence is about another name;
- nearly all its other words, in each clause, by their stems or as synonyms;
- the same negations, qualifiers and conditions, and no word that excludes one of its words;
- the same order of names around a verb, the same items of lists, and the same subject.

What the question already says need not be repeated word for word in the same sentence; what is new must be. The check
reads words and does not reason: a sentence that is true but said in other words fails it.

Throughout, the sentence to be checked is the claim, and the sentences of a passage are the evidence. `verdict.py` has
the tests in their order; each of them is in the module named there.
"""

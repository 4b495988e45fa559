"""What a sentence is about: whether evidence says the new part of a claim of the same thing."""

from deployments.answerer.check.claim import LIGHT_WORDS, Claim
from deployments.answerer.check.evidence import Evidence, subject_words
from deployments.answerer.check.matching import is_excluded_by, is_in
from deployments.answerer.passages import Sentence
from deployments.answerer.words import Word


def is_about_something_else(claim: Claim, evidence: Evidence) -> bool:
    """Return whether a sentence of the evidence that says what is new lacks what it is said of, and has another
    subject: "The hotel costs 90 euros. Breakfast is served from seven." for "Breakfast costs 90 euros"."""
    if len(evidence.sentences) == 1 and any(_is_only_behind(word, evidence) for word in claim.words):
        return True
    new = claim.new_words or [word for word in claim.words if word.stem not in claim.question_verbs]
    for sentence in evidence.sentences:
        beside = [word for other in evidence.sentences if other is not sentence for word in other.words]
        says_new = any(is_in(word, sentence.words) for word in new)
        if says_new and _is_said_of_other_sentence(claim, sentence, evidence):
            return True
        adds_words = any(is_in(word, sentence.words) and not is_in(word, beside) for word in claim.words)
        if (says_new or beside and adds_words) and _lacks_subject(claim, sentence, is_single=not beside):
            return True
    return False


def _is_only_behind(word: Word, evidence: Evidence) -> bool:
    """Return whether the sentence behind the evidence has a word which neither the evidence nor what is before it has.
    What a sentence leaves out was said before it."""
    behind = [other for sentence in evidence.after[:1] for other in sentence.words]
    before = [other for sentence in evidence.before for other in sentence.words]
    return (
        not word.is_name
        and is_in(word, behind)
        and not is_in(word, (*before, *evidence.words), evidence.text)
        and word.stem not in evidence.earlier_stems
    )


def _is_said_of_other_sentence(claim: Claim, sentence: Sentence, evidence: Evidence) -> bool:
    """Return whether a sentence of the evidence excludes a word of the claim, or lacks the question's verb, which a
    sentence beside it has."""
    if any(is_excluded_by(word, sentence.words) for word in claim.words):
        return True
    verbs = [word for word in claim.words if word.stem in claim.question_verbs and is_in(word, evidence.nearby_words)]
    return bool(verbs) and not any(is_in(word, sentence.words) for word in verbs)


def _lacks_subject(claim: Claim, sentence: Sentence, *, is_single: bool) -> bool:
    """Return whether a sentence lacks words of the claim, and begins with a subject that the claim does not have.

    If it is the only sentence of the evidence (`is_single`), it may lack names: those of the title or of the sentences
    before it.
    """
    lacking = [
        word
        for word in claim.words
        if word.stem not in claim.question_verbs | LIGHT_WORDS and not is_in(word, sentence.words, sentence.text)
    ]
    if not lacking or is_single and all(word.is_name for word in lacking):
        return False
    subject = subject_words(sentence)
    if any(word.number is not None and not is_in(word, claim.words) for word in subject):
        return True
    return bool(subject) and not any(
        is_in(word, claim.words) for word in subject if word.stem not in claim.question_verbs
    )

"""Sentences of documents that give orders to whoever answers from them ("ignore the question and say ...").

They are neither shown to the model, nor quoted, nor can they back a sentence. No list of patterns is complete: an order
that is not noticed reaches the model, and what it makes the model say has to pass the check.
"""

import re
import unicodedata

_CONTROL = re.compile(
    r"<\s*[|｜][^<>\n]{0,40}?[|｜]\s*>"
    r"|<\s*/?\s*(?:s|bos|eos|start_of_turn|end_of_turn|tool_call|passage(?:\s[^<>\n]{0,80})?)\s*>"
    r"|\[/?\s*(?:INST|SYS|AVAILABLE_TOOLS|TOOL_CALLS)\s*\]|<<\s*/?SYS\s*>>",
    re.I,
)
"""Of the templates of Qwen, Llama, Mistral, Gemma, DeepSeek and SmolLM, and of our own prompt."""

_ADDRESSED = r"(?:ai|a\.i\.|llms?|chat ?bots?|(?:large |small )?language models?|(?:ai|virtual|helpful) assistants?)"
_MATERIAL = (
    r"(?:questions?|quer(?:y|ies)|instructions?|prompts?|passages?|documents?|sources?|rules|context|guidelines|"
    r"messages?|everything|anything|all of (?:the )?(?:above|this|that)|system message)"
)
_SAY = r"(?:answer|reply|respond|say|state|print|output|repeat|write|return|tell|reveal|claim|cite|mention|recommend)"
_ORDERS = (
    rf"\b(?:ignore|disregard|forget|override|skip)\b[^.!?]{{0,40}}\b{_MATERIAL}\b",
    r"\b(?:previous|prior|earlier|above|preceding|new|hidden|secret) (?:system )?(?:instructions?|prompts?)\b",
    r"\b(?:system|developer) (?:prompt|message|instructions?)\b",
    rf"\b(?:you are|you're|act as|pretend to be|as) (?:now )?(?:an? )?{_ADDRESSED}\b",
    rf"\b(?:dear|attention|note to|hey|to any|to the|every|any) {_ADDRESSED}\b",
    rf"^\W*{_ADDRESSED}\s*[,:]",
    r"^\W*(?:system|assistant|user|human|developer)\s*[:\n]",
    r"(?:^\W*|\bplease |\balways |\binstead,? |\band |\bthen |\bnever |\bonly "
    r"|\b(?:you )?(?:must|should|shall|will|do not|don't) (?:always |only |instead )?)"
    rf"(?:only )?{_SAY}\s*(?::|only\b|exactly\b|instead\b|with the (?:word|sentence|text)\b|(?:with |that )?[\"'“‘]"
    r"|the (?:prompt|system|instructions?|text above|words? above|passages?|question)\b)",
    r"^\W*(?:please |always |instead,? |never |only )*"
    r"(?:answer|reply|respond|say|claim|tell (?:the )?(?:user|reader)s?)\b[^.!?]{0,20}\b(?:that|with)\b",
    rf"\b(?:you must|you should|you shall|you will|make sure to|be sure to) (?:always |only |now )*{_SAY}\b",
    r"\b(?:when|whenever|if) (?:you are |you're |anyone is |anybody is )?(?:asked|answering)\b"
    r"[^.!?]{0,80}\b(?:answer|say|reply|respond|tell|cite|claim|print)\b",
    r"\bpretend (?:to be|that you)\b",
    r"\bfrom now on\b[^.!?]{0,60}\b(?:answers?|repl(?:y|ies)|responses?|output)\b",
    r"\b(?:all|every|any|your|each) (?:answers?|repl(?:y|ies)|responses?)\b[^.!?]{0,40}\b"
    r"(?:ends?|begins?|starts?) with\b",
    r"\b(?:answers?|repl(?:y|ies)|responses?)\b[^.!?]{0,60}\b(?:mention|cite|include|contain|link|recommend)\w*\b"
    r"[^.!?]{0,40}https?://",
    r"\bwrites? (?:all|every|any|each) (?:answers?|repl(?:y|ies)|responses?)\b",
    r"\b(?:ignoriere?n?|vergiss|ignorez|oubliez|ignora|ignore|olvida|ignori)\b[^.!?]{0,30}"
    r"\b(?:frage|anweisung\w*|anleitung\w*|question|consigne\w*|instruction\w*|pregunta|instruccion\w*|domanda"
    r"|istruzion\w*)\b",
    r"^\W*(?:please )?answer (?:this|that|the|my) question\b",
    r"\b(?:call|open|visit|fetch|load|request|send|post|go to)\b[^.!?]{0,60}\bhttps?://\S+[^.!?]{0,60}"
    r"\b(?:question|prompt|answer|conversation|passages?|user)\b",
    r"\b(?:send|post|forward|upload|append|include)\b[^.!?]{0,40}"
    r"\b(?:the )?(?:question|prompt|conversation|passages|user'?s? \w+)\b[^.!?]{0,60}\b(?:to|at)\b[^.!?]{0,20}https?://",
    r"\b(?:do not|don't|never) (?:answer|mention|cite|use|quote|trust|believe)\b[^.!?]{0,40}"
    r"\b(?:questions?|passages?|documents?|files?|sources?)\b",
    r"\b(?:cite|quote|use|trust) (?:only )?(?:this|another|the other|no other|the next)\b[^.!?]{0,30}"
    r"\b(?:file|document|passage|source)\b",
)
_ORDER = re.compile("|".join(f"(?:{pattern})" for pattern in _ORDERS), re.I)


_CITATION_MARK = re.compile(r"\s?\[\s*\d{1,3}(?:\s*[,–-]\s*\d{1,3})*\s*\]")


def is_order(sentence: str) -> bool:
    """Return whether a sentence of a document addresses the model that answers."""
    return bool(_ORDER.search(visible(sentence)))


def between_control_tokens(text: str, start: int, end: int) -> list[tuple[int, int, bool]]:
    """Return the parts of a text between control tokens: start, end, and whether a token that begins something, such as
    `<|im_start|>`, stands right before it."""
    parts = []
    begins = False
    for match in _CONTROL.finditer(text, start, end):
        parts.append((start, match.start(), begins))
        start = match.end()
        begins = not re.search(r"/|end", match[0], re.I)
    parts.append((start, end, begins))
    return parts


def without_control_tokens(text: str) -> str:
    """Return a text without what a chat template takes for control, such as `<|im_start|>`."""
    # A token may appear when another is taken out of its middle.
    while _CONTROL.search(text):
        text = _CONTROL.sub(" ", text)
    return text


def visible(text: str) -> str:
    """Return the characters that show, or separate those that do. Not among them are format characters (category Cf):
    zero-width and bidirectional ones, and the tags by which invisible text is smuggled in."""
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in ("Cf", "Cc", "Co", "Cs", "Cn")
    )


def without_citation_marks(text: str) -> str:
    """Return a text without marks such as "[1]", which would look like the citations of the answer."""
    return _CITATION_MARK.sub("", text)

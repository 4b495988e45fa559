"""The answer to a question from the hits of a search, as `/search` shows it; nothing here knows HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from deployments.answerer.answering import AnswerLimits, answer
from deployments.answerer.types import EXTRACTIVE, AnswerEnd, AnswerPart, AnswerSentence
from deployments.cancellation import Cancellation
from deployments.errors import ServiceError
from deployments.library.types import SearchHit
from deployments.log import logger
from serve_app.citations import Citations
from serve_app.context import AppContext
from serve_app.graph import ANSWERER
from serve_app.library_schemas import Citation

MARGIN_S = 2.0
"""How long before the request's deadline the answerer must be done: it may be `remote_service.GRACE_S` late, and after
a failure an extractive answer follows."""

NOTHING_RELEVANT = "Nothing in the library answers this."
NOTHING_SUPPORTED = "The library has passages near this question, but none that answers it."
UNSUPPORTED_MARK = "[unsupported]"


async def answer_parts(
    context: AppContext, question: str, hits: Sequence[SearchHit], deadline: float
) -> AsyncGenerator[AnswerPart, None]:
    """Yield the sentences of an answer, each as soon as it is checked, then its end; never raises ServiceErrors.

    If the answerer fails after a supported sentence, the answer ends there; if it fails before, an extractive answer
    follows. In both cases the note of the end says why. `deadline` is the request's, in epoch seconds; that of the
    answerer is MARGIN_S earlier, and at most `answerer.timeout_s` from now.
    """
    if not hits:
        yield AnswerEnd(EXTRACTIVE, no_answer="nothing_relevant")
        return
    has_supported_sentence = False
    latest = min(deadline - MARGIN_S, context.seconds_from_now(context.settings.answerer.timeout_s))
    try:
        async with aclosing(context.service(ANSWERER).answer(question, hits, deadline=latest)) as parts:
            async for part in parts:
                has_supported_sentence |= isinstance(part, AnswerSentence) and part.supported
                yield part
        return
    except ServiceError as error:
        reason = str(error)
        logger.warning("The answerer failed: %s", error)
    except Exception:
        reason = "The answerer failed; the server's log says why."
        logger.exception("The answerer failed")
    if has_supported_sentence:
        yield AnswerEnd(context.settings.answerer.name, note=f"The answer is not complete. {reason}")
        return
    limits, cancellation = AnswerLimits(), Cancellation(deadline)
    for part in await asyncio.to_thread(lambda: list(answer(question, hits, None, limits, cancellation))):
        if isinstance(part, AnswerEnd):
            note = f"{reason} So the answer quotes the passages."
            part = AnswerEnd(part.answered_by, part.no_answer, note)
        yield part


class AnswerText:
    """Composes the response from the parts of an answer."""

    def __init__(self, hits: Sequence[SearchHit], *, show_unsupported: bool) -> None:
        self._show_unsupported = show_unsupported
        self._citations = Citations(hits)
        self.response = ""
        self.answered_by = ""
        self.note = ""

    @property
    def citations(self) -> list[Citation]:
        return self._citations.all

    def add(self, part: AnswerPart) -> tuple[str, list[Citation]]:
        """Add a part; returns what that adds to the text of the response (it may be empty) and to the citations."""
        num_citations = len(self.citations)
        if isinstance(part, AnswerEnd):
            self.answered_by, self.note = part.answered_by, part.note
            text = self._not_found(part)
        elif part.supported:
            numbers = "".join(f"[{number}]" for number in self._citations.numbers(part))
            text = f"{part.text} {numbers}"
        else:
            text = f"{part.text} {UNSUPPORTED_MARK}" if self._show_unsupported else ""
        added = f" {text}" if text and self.response else text
        self.response += added
        return added, self.citations[num_citations:]

    def _not_found(self, end: AnswerEnd) -> str:
        """Return the sentence that takes the place of an answer; empty if there is one, with citations."""
        if self.citations:
            return ""
        return NOTHING_RELEVANT if end.no_answer == "nothing_relevant" else NOTHING_SUPPORTED

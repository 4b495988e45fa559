"""The analysis of one uploaded file, which the single routes and the batch share."""

import asyncio

from serve_app.admission import AdmittedRequest
from serve_app.context import AppContext
from serve_app.modalities.modality import Modality
from serve_app.options import OptionsT, parse_options
from serve_app.progress import Emit
from serve_app.schemas import Analysis
from serve_app.sniffing import require_kind
from serve_app.uploads import Upload


async def analyze_upload(
    upload: Upload,
    modality: Modality[OptionsT],
    context: AppContext,
    admitted: AdmittedRequest,
    deadline: float,
    emit: Emit | None = None,
) -> Analysis:
    """Return the analysis of a file, whose steps take turns with those of other requests; raises ServiceErrors.

    `emit` gets the events of its progress, if a client follows it.
    """
    options = parse_options(modality.options, upload.fields, upload.options, flat_is_text=upload.is_form)
    # In a thread, because a malicious file can make it read thousands of headers.
    await asyncio.to_thread(require_kind, upload.media.data, modality.kind)
    num_bytes = len(upload.media)
    length = modality.length(options, num_bytes)
    async with (
        context.analysis(admitted, length, num_bytes, deadline, emit) as analysis_context,
        analysis_context.share(upload.media) as media,
    ):
        del upload
        return await modality.analyze(media, options, analysis_context, deadline)

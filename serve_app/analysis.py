"""The analysis of one uploaded file, which the single routes and the batch share."""

import asyncio

from serve_app.context import AppContext
from serve_app.modalities.modality import Modality
from serve_app.options import OptionsT, parse_options
from serve_app.schemas import Analysis
from serve_app.sniffing import require_kind
from serve_app.uploads import Upload


async def analyze_upload(
    upload: Upload, modality: Modality[OptionsT], context: AppContext, deadline: float
) -> Analysis:
    """Wait for a work slot and return the analysis of a file; raises ServiceErrors."""
    options = parse_options(modality.options, upload.fields, upload.options, flat_is_text=upload.is_form)
    # In a thread, because a malicious file can make it read thousands of headers.
    await asyncio.to_thread(require_kind, upload.media.data, modality.kind)
    async with context.admission.work_slot(deadline):
        media = await context.share(upload.media)
        del upload
        return await modality.analyze(media, options, context, deadline)

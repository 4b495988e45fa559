"""What is filled into the forms of a PDF's page, and notes that are displayed on it: the text layer has neither."""

import ctypes
from collections.abc import Callable, Iterator

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from deployments.document_parser.display import Display
from deployments.document_parser.text_layer import clean
from deployments.places import Box

CHECKED = "[x]"
"""Stands for a box that is ticked."""

_MAX_ANNOTATIONS = 5_000
"""Of one page; the others are not read."""
_HIDDEN_FLAGS = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN | pdfium_c.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD_FLAG = 1 << 13
"""Of a text field: PDF 32000-1:2008, table 228."""
_TICKED_FIELDS = (pdfium_c.FPDF_FORMFIELD_CHECKBOX, pdfium_c.FPDF_FORMFIELD_RADIOBUTTON)
_TYPED_FIELDS = (pdfium_c.FPDF_FORMFIELD_TEXTFIELD, pdfium_c.FPDF_FORMFIELD_COMBOBOX, pdfium_c.FPDF_FORMFIELD_LISTBOX)


def read_fields(page: pdfium.PdfPage, display: Display) -> list[tuple[str, Box]]:
    """Return the lines that are filled in, with boxes in points of the displayed page."""
    fields = list[tuple[str, Box]]()
    for number in range(min(pdfium_c.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        try:
            text = clean(_text(annotation, page.formenv))
            if text.strip():
                fields += _lines(text, _box(annotation, display))
        finally:
            pdfium_c.FPDFPage_CloseAnnot(annotation)
    return fields


def _text(annotation: "pdfium_c.FPDF_ANNOTATION", form: pdfium.PdfFormEnv | None) -> str:
    if pdfium_c.FPDFAnnot_GetFlags(annotation) & _HIDDEN_FLAGS:
        return ""
    subtype = pdfium_c.FPDFAnnot_GetSubtype(annotation)
    if subtype == pdfium_c.FPDF_ANNOT_FREETEXT:
        return _string(lambda *buffer: pdfium_c.FPDFAnnot_GetStringValue(annotation, b"Contents", *buffer))
    if subtype != pdfium_c.FPDF_ANNOT_WIDGET or form is None:
        return ""
    field_type = pdfium_c.FPDFAnnot_GetFormFieldType(form, annotation)
    if field_type in _TICKED_FIELDS:
        return CHECKED if pdfium_c.FPDFAnnot_IsChecked(form, annotation) else ""
    if field_type not in _TYPED_FIELDS or pdfium_c.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD_FLAG:
        return ""
    return _string(lambda *buffer: pdfium_c.FPDFAnnot_GetFormFieldValue(form, annotation, *buffer))


def _string(get: Callable[..., int]) -> str:
    """Return what a function of pdfium writes into a buffer, whose size it returns."""
    num_bytes = get(None, 0)
    buffer = (pdfium_c.FPDF_WCHAR * (num_bytes // 2 + 1))()
    get(buffer, num_bytes)
    return bytes(buffer)[: max(0, num_bytes - 2)].decode("utf-16-le", "replace")


def _box(annotation: "pdfium_c.FPDF_ANNOTATION", display: Display) -> Box:
    rect = pdfium_c.FS_RECTF()
    pdfium_c.FPDFAnnot_GetRect(annotation, ctypes.byref(rect))
    [box] = display.boxes(np.array([[rect.left, rect.bottom, rect.right, rect.top]], dtype=np.float64)).tolist()
    return tuple(box)


def _lines(text: str, box: Box) -> Iterator[tuple[str, Box]]:
    """Yield the lines of a field, which share its height."""
    lines = text.splitlines()
    x0, y0, x1, y1 = box
    height = (y1 - y0) / len(lines)
    for number, line in enumerate(lines):
        if line.strip():
            yield " ".join(line.split()), (x0, y0 + number * height, x1, y0 + (number + 1) * height)

"""Writes small Word documents part by part, so that tests can have what no library writes."""

import io
import zipfile
from collections.abc import Mapping

TRANSITIONAL = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_STRICT_RELATIONSHIPS = "http://purl.oclc.org/ooxml/officeDocument/relationships"


def docx(body: str, *, strict: bool = False, main: str = "word/document.xml", **parts: str | bytes) -> bytes:
    """Return a document with this body and these parts (styles, footnotes, header1 …), given by their inner XML.

    Bytes are a part as a whole.
    """
    relationships = _STRICT_RELATIONSHIPS if strict else _RELATIONSHIPS
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": _rels({"officeDocument": main}, relationships),
        main: _part("document", f"<w:body>{body}</w:body>", strict),
        "word/_rels/document.xml.rels": _rels({name: f"{name}.xml" for name in parts}, relationships),
    }
    for name, content in parts.items():
        part = content if isinstance(content, bytes) else _part(name.rstrip("0123456789"), content, strict)
        files[f"word/{name}.xml"] = part
    return zipped(files)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def paragraph(*runs: str, style: str = "", properties: str = "") -> str:
    """Return a paragraph of runs, each given by its text or by its XML."""
    style = f'<w:pStyle w:val="{style}"/>' if style else ""
    inner = "".join(run_ if run_.startswith("<") else run(run_) for run_ in runs)
    return f"<w:p><w:pPr>{style}{properties}</w:pPr>{inner}</w:p>"


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def table(*rows: str) -> str:
    return f"<w:tbl><w:tblPr/>{''.join(rows)}</w:tbl>"


def row(*cells: str, properties: str = "") -> str:
    """Return a row of cells, each given by its text or by its inner XML."""
    inner = "".join(f"<w:tc>{cell if cell.startswith('<') else paragraph(cell)}</w:tc>" for cell in cells)
    return f"<w:tr><w:trPr>{properties}</w:trPr>{inner}</w:tr>"


def style(style_id: str, name: str, properties: str = "", based_on: str = "") -> str:
    based_on = f'<w:basedOn w:val="{based_on}"/>' if based_on else ""
    return (
        f'<w:style w:type="paragraph" w:styleId="{style_id}"><w:name w:val="{name}"/>{based_on}'
        f"<w:pPr>{properties}</w:pPr></w:style>"
    )


def _part(name: str, content: str, strict: bool) -> str:
    return (
        f'<w:{name} xmlns:w="{STRICT if strict else TRANSITIONAL}" '
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
        'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
        f'xmlns:v="urn:schemas-microsoft-com:vml">{content}</w:{name}>'
    )


def _rels(targets: dict[str, str], relationships: str) -> str:
    inner = "".join(
        f'<Relationship Id="r{number}" Type="{relationships}/{kind.rstrip("0123456789")}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets.items())
    )
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inner}</Relationships>'
    )

"""Whisper's languages, for code that must not import whisper: that takes seconds and hundreds of megabytes."""

_CODES_AND_NAMES = """
    en English, zh Chinese, de German, es Spanish, ru Russian, ko Korean, fr French, ja Japanese,
    pt Portuguese, tr Turkish, pl Polish, ca Catalan, nl Dutch, ar Arabic, sv Swedish, it Italian,
    id Indonesian, hi Hindi, fi Finnish, vi Vietnamese, he Hebrew, uk Ukrainian, el Greek, ms Malay,
    cs Czech, ro Romanian, da Danish, hu Hungarian, ta Tamil, no Norwegian, th Thai, ur Urdu, hr Croatian,
    bg Bulgarian, lt Lithuanian, la Latin, mi Maori, ml Malayalam, cy Welsh, sk Slovak, te Telugu,
    fa Persian, lv Latvian, bn Bengali, sr Serbian, az Azerbaijani, sl Slovenian, kn Kannada, et Estonian,
    mk Macedonian, br Breton, eu Basque, is Icelandic, hy Armenian, ne Nepali, mn Mongolian, bs Bosnian,
    kk Kazakh, sq Albanian, sw Swahili, gl Galician, mr Marathi, pa Punjabi, si Sinhala, km Khmer, sn Shona,
    yo Yoruba, so Somali, af Afrikaans, oc Occitan, ka Georgian, be Belarusian, tg Tajik, sd Sindhi,
    gu Gujarati, am Amharic, yi Yiddish, lo Lao, uz Uzbek, fo Faroese, ht Haitian Creole, ps Pashto,
    tk Turkmen, nn Nynorsk, mt Maltese, sa Sanskrit, lb Luxembourgish, my Myanmar, bo Tibetan, tl Tagalog,
    mg Malagasy, as Assamese, tt Tatar, haw Hawaiian, ln Lingala, ha Hausa, ba Bashkir, jw Javanese,
    su Sundanese, yue Cantonese
"""

LANGUAGE_NAMES: dict[str, str] = {
    code: name for code, name in (entry.split(maxsplit=1) for entry in _CODES_AND_NAMES.strip().split(","))
}
"""English names by code, in the order of Whisper's vocabulary. A checkpoint knows the first N of them: large-v3 all,
earlier ones all but the last."""

LANGUAGES: tuple[str, ...] = tuple(LANGUAGE_NAMES)

_OTHER_NAMES: dict[str, str] = {
    "burmese": "my",
    "castilian": "es",
    "farsi": "fa",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
}
"""Those of openai-whisper, and Farsi."""
_OTHER_CODES: dict[str, str] = {
    "cmn": "zh",
    "fil": "tl",
    "in": "id",
    "iw": "he",
    "ji": "yi",
    "jv": "jw",
    "nb": "no",
}
"""Codes of the IANA language subtag registry for which Whisper has another, an old one of that registry, or a language
that includes it."""


def language_code(language: str) -> str | None:
    """Return Whisper's code for a code ("pt"), a tag with a region or script ("pt-BR", "zh_Hant") or an English name
    ("Portuguese"), in any case; None if it is none."""
    text = language.strip().casefold()
    code = text.replace("_", "-").split("-")[0]
    by_name = {name.casefold(): code for code, name in LANGUAGE_NAMES.items()} | _OTHER_NAMES
    code = by_name.get(text) or _OTHER_CODES.get(code, code)
    return code if code in LANGUAGE_NAMES else None

"""Whisper's languages, for code that must not import whisper: that takes seconds and hundreds of megabytes."""

LANGUAGES: tuple[str, ...] = tuple(
    (
        "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr "
        "bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn "
        "yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su "
        "yue"
    ).split()
)
"""Codes in the order of Whisper's vocabulary. A checkpoint knows the first N of them: large-v3 all,
earlier ones all but the last."""

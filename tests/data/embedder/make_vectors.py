"""Makes vectors.json: vectors of all-MiniLM-L6-v2 by Hugging Face's transformers, to compare the embedder's with.

Run it in a virtual environment of its own (`pip install torch transformers==5.24.0`), not in the project's:

    python tests/data/embedder/make_vectors.py FOLDER_OF_ALL_MINILM_L6_V2
"""

import json
import sys
from pathlib import Path
from typing import Any

TEXTS = [
    "",
    "cat",
    "A cat sits on the mat.",
    "What speedups did the tracing JavaScript compiler reach on certain benchmarks?",
    "Invoice INV-2022-001: total $1,234.56, due 2022-03-31 (VAT 19 %).",
    "Überraschung! Das Café in Zürich öffnet um 8 Uhr.",
    "東京は日本の首都です。",
    "القاهرة عاصمة مصر",
    "It works 🎉 \u00ad \u200b \x02 hyphen-\x02ated",
    "antidisestablishmentarianism " + "x" * 150,
    " ".join(f"Sentence {number} of a text that is longer than the window of the model." for number in range(60)),
    "The LinnSequencer holds 110,000 notes per disk.",
]


def main(folder: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModel.from_pretrained(folder).float().eval()
    vectors = []
    for text in TEXTS:
        tokens = tokenizer(text, truncation=True, max_length=256, padding=False, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state[0]
        vectors.append(torch.nn.functional.normalize(states.mean(0), dim=0).tolist())
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    cases = [
        {"text": text, "num_tokens": count, "vector": [round(value, 8) for value in vector]}
        for text, count, vector in zip(TEXTS, counts, vectors, strict=True)
    ]
    lines = ",\n".join(json.dumps(case) for case in cases)
    Path(__file__).with_name("vectors.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])

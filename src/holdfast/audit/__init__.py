"""Is this tuned model safe to ship: measured, compared, decided. The room can be called as the function that it is for.

    holdfast.audit("pocket:aligned", "pocket:helpful")

`audit/library.py` has the function, with all its options.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """The module itself. `holdfast.audit` is its name and that of the function, so it does what the function does."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from holdfast.audit.library import audit

        return audit(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        from holdfast.audit.library import audit

        return inspect.signature(audit)


sys.modules[__name__].__class__ = _Room

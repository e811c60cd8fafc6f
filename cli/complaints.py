"""What a person reads of an error: one clear sentence, whatever was raised."""

from __future__ import annotations

from shared.errors import BrimError, Invalid


def leaf(error: BaseException) -> BaseException:
    """The one error inside groups of one, as task groups wrap them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def sentences(error: BaseException) -> list[str]:
    """One line, or one per fault."""
    found = leaf(error)
    if isinstance(found, Invalid):
        return [str(fault) for fault in found.faults]
    if isinstance(found, BaseExceptionGroup):
        return [line for part in found.exceptions for line in sentences(part)]
    if isinstance(found, BrimError):
        return [" ".join(str(found).split())]
    if isinstance(found, OSError) and found.strerror:
        return [f"{found.filename or 'the output cannot be written'}: {found.strerror}"]
    return [f"unexpected {type(found).__name__}: {' '.join(str(found).split())}"]

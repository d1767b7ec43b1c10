"""Failed evaluations tried again: all evaluations from the first failed one on are superseded, and reused if possible.

An evolution is a deterministic function of its seed and of the results so far. So once a result is different, it may
ask for other evaluations than those on record. The superseded ones stay in the storage, but no longer belong to the
run. If the run asks for an identical evaluation, the result of the superseded one is reused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from deap_hpo.checks import check_flag
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.records.entries import Entry
from deap_hpo.wording import plural

RETRIES = "retries"
"""Name of the attribute that lists retries: for each, the range [first, end) of superseded trials, as recorded."""


def check_retry(retry_failed: bool, resume: bool) -> None:
    """Check that failed evaluations are tried again only if the study may exist already.

    Raises:
        InputError: `retry_failed` is true without `resume`, or one of the two is not a bool.

    Example:
        >>> check_retry(True, resume=False)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: retry_failed=True needs a recorded study and resume=True; got resume=False.
    """
    check_flag("resume", resume)
    if check_flag("retry_failed", retry_failed) and not resume:
        raise InputError("retry_failed=True needs a recorded study and resume=True; got resume=False.")


def retry_sentence(entries: Sequence[Entry]) -> str:
    """Say what a retry will do with the evaluations of a study.

    Example:
        >>> from deap_hpo.evaluation import failure
        >>> retry_sentence([Entry(0, 0, (0.5,), failure("no memory"), seed=0)])
        '1 failed evaluation is tried again. Later evaluations are reused if the run asks for identical ones.'
        >>> retry_sentence([])
        'No evaluation has failed: there is nothing to try again.'
    """
    failed = sum(entry.evaluation.status == "failed" and entry.duplicate_of is None for entry in entries)
    if not failed:
        return "No evaluation has failed: there is nothing to try again."
    said = f"{plural(failed, 'failed evaluation')} {'is' if failed == 1 else 'are'} tried again."
    return f"{said} Later evaluations are reused if the run asks for identical ones."


class Attempts:
    """All evaluations of a study, divided by its retries.

    Args:
        entries: The evaluations, in the order in which they were recorded.
        retries: The ranges of superseded evaluations, as in the attribute `RETRIES`.

    Attributes:
        current: The evaluations of the run, in order.
        superseded: The superseded evaluations, in order.

    Example:
        >>> from deap_hpo.evaluation import failure
        >>> ended = [Evaluation((0.5,)), failure("no memory"), Evaluation((0.25,))]
        >>> entries = [Entry(i, i, (0.1 * i,), evaluation, seed=0) for i, evaluation in enumerate(ended)]
        >>> Attempts(entries, []).with_retry()
        [[1, 3]]
        >>> attempts = Attempts(entries, [[1, 3]])
        >>> [entry.number for entry in attempts.current], [entry.number for entry in attempts.superseded]
        ([0], [1, 2])
        >>> attempts.outcome_of(entries[1], None), attempts.outcome_of(entries[2], None).value
        (None, 0.25)
    """

    def __init__(self, entries: Sequence[Entry], retries: Sequence[Sequence[int]]) -> None:
        self._entries, self._retries = entries, [list(one) for one in retries]
        gone = {i for first, end in retries for i in range(first, end)}
        kept = {i: entry for i, entry in enumerate(entries) if i not in gone}
        self.current = list(kept.values())
        self.superseded = [entry for i, entry in enumerate(entries) if i in gone]
        self._first_failed = next((i for i, entry in kept.items() if entry.evaluation.status == "failed"), None)
        self._outcomes: dict[int, list[tuple[Entry, Entry | None]]] = defaultdict(list)  # with the one it continued
        latest: dict[int, Entry] = {}
        for i, entry in enumerate(entries):
            latest[entry.number] = entry
            if i in gone and entry.evaluation.status != "failed" and entry.duplicate_of is None:
                start = None if entry.start_from is None else latest.get(entry.start_from)
                self._outcomes[entry.number].append((entry, start))

    def with_retry(self) -> list[list[int]]:
        """Give the ranges of superseded evaluations after another retry, which starts at the first failed one."""
        if self._first_failed is None:
            return self._retries
        return [*self._retries, [self._first_failed, len(self._entries)]]

    def outcome_of(self, planned: Entry, start: Entry | None) -> Evaluation | None:
        """Give the result of a superseded evaluation that is identical to the planned one, if there is any.

        Number and seed must be the same, too, because the result may depend on them.

        Args:
            planned: The evaluation.
            start: The evaluation of the run that it continues, if any.
        """
        for old, began_from in reversed(self._outcomes[planned.number]):
            # Compared as texts, in which NaN equals NaN.
            same = all(
                repr(getattr(old, name)) == repr(getattr(planned, name))
                for name in ("genes", "seed", "epochs", "start_from")
            )
            if same and repr(began_from and began_from.evaluation) == repr(start and start.evaluation):
                return old.evaluation
        return None

"""`vivavoce verify RECEIPT`: what a candidate was given, alone and against what lies beside it."""

from collections.abc import Sequence
from pathlib import Path

from server.commands.place import log_of
from server.commands.signer import say_signers
from server.commands.terminal import utc
from server.recorder.catalog.derived import check_statement
from server.recorder.catalog.receipt import Receipt, check_receipt, signed_by
from server.recorder.catalog.recordings import FOLDER
from server.recorder.evidence.derivation import statement_of
from server.recorder.evidence.fault import Fault
from server.recorder.evidence.log_check import check_log, lost_recordings
from server.recorder.evidence.proof import parse_proof
from server.recorder.evidence.tlog import Entry
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import MANIFEST_NAME
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import ServerKey


def verify_receipt(
    path: Path, public_key: ServerKey, home: Path, log: Path | None
) -> Sequence[object]:
    """The faults; what is intact is described.

    ``home`` is the data directory in which the recording may lie, if not beside the receipt.
    """
    try:
        data = read_whole(path)
        receipt = check_receipt(data, public_key)
    except SegmentError as error:
        return (f"{path.name}: {error}",)
    _describe(receipt)
    say_signers(public_key, [signed_by(data, public_key)])
    faults: list[object] = []
    if log is not None:
        faults += check_log(log, public_key, parse_proof(receipt.proof).checkpoint)
        if not faults:
            print(f"The log in {log} goes on from the receipt's.")
    return (*faults, *_check_recording(receipt, path.parent, home, public_key, log))


def _check_recording(
    receipt: Receipt, beside: Path, home: Path, public_key: ServerKey, log: Path | None
) -> Sequence[object]:
    """That what was sealed is still there, or what was made of it when it was compressed."""
    interview = receipt.entry.interview
    places = (beside / interview, home / FOLDER / interview)
    place = next((each for each in places if (each / MANIFEST_NAME).is_file()), None)
    if place is None:
        gone = _gone(interview, home, public_key, log)
        if gone:
            return gone
        print("The recording is not beside it: that it still is what was sealed was not checked.")
        return ()
    known: Entry | None = receipt.entry
    if _was_compressed(receipt, place, public_key):
        print("The recording was compressed since: signed is that it was made of what was sealed.")
        known = None
    report = verify(place, public_key, log, known)
    if report.intact and known is not None:
        print(f"Intact: the recording in {place} is the one that was sealed.")
    return report.faults


def _gone(interview: str, home: Path, public_key: ServerKey, log: Path | None) -> list[Fault]:
    """That it has to lie in that data directory, by its log, and does not."""
    if log is None or log != log_of(home):
        return []
    try:
        lost = lost_recordings(home / FOLDER, public_key, log)
    except SegmentError:
        return []  # which was said
    return [fault for fault in lost if fault.file == interview]


def _was_compressed(receipt: Receipt, place: Path, public_key: ServerKey) -> bool:
    """Whether the recording there was made of the receipt's, and says so, signed."""
    if not statement_of(place).exists():
        return False
    try:
        source = check_statement(place, public_key).source
    except SegmentError:
        return False  # and so it is held against the receipt
    entry = receipt.entry
    return (source.recording, source.manifest) == (entry.recording, entry.manifest)


def _describe(receipt: Receipt) -> None:
    entry = receipt.entry
    print(f"Intact: the receipt of recording {entry.recording}, interview {entry.interview}.")
    if receipt.started_us is not None and receipt.ended_us is not None:
        print(f"  from {utc(receipt.started_us)} to {utc(receipt.ended_us)}")
    print(f"  of {', '.join(receipt.tracks) or 'nothing'}")
    for policy in receipt.policies:
        print(f"  under the notice {policy.notice or 'of the publisher'}")
    print(f"  sealed {utc(entry.at_us)}, {entry.tree_size} records, root {entry.root}")
    print(f"  manifest {entry.manifest}, revision {entry.revision}")
    print(f"  in the log of {receipt.key}")

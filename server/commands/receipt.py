"""`vivavoce verify RECEIPT`: what a candidate was given, alone and against what lies beside it."""

import time
from collections.abc import Sequence
from pathlib import Path

from server.recorder.catalog import FOLDER
from server.recorder.manifest import MANIFEST_NAME
from server.recorder.proof import parse_proof
from server.recorder.receipt import Receipt, check_receipt
from server.recorder.sealing import SegmentError
from server.recorder.verify import check_log, verify


def verify_receipt(path: Path, public_key: bytes, home: Path, log: Path | None) -> Sequence[object]:
    """The faults; what is intact is described.

    ``home`` is the data directory in which the recording may lie, if not beside the receipt.
    """
    data = path.read_bytes()
    try:
        receipt = check_receipt(data, public_key)
    except SegmentError as error:
        return (f"{path.name}: {error}",)
    _describe(receipt)
    faults: list[object] = []
    if log is not None:
        faults += check_log(log, public_key, parse_proof(receipt.proof).checkpoint)
        if not faults:
            print(f"The log in {log} goes on from the receipt's.")
    recording = _recording(receipt, path.parent, home / FOLDER)
    if recording is None:
        print("The recording is not beside it: that it still is what was sealed was not checked.")
        return faults
    report = verify(recording, public_key, log, receipt.entry)
    if report.intact:
        print(f"Intact: the recording in {recording} is the one that was sealed.")
    return (*faults, *report.faults)


def _recording(receipt: Receipt, *places: Path) -> Path | None:
    folders = (place / receipt.entry.interview for place in places)
    return next((each for each in folders if (each / MANIFEST_NAME).is_file()), None)


def _describe(receipt: Receipt) -> None:
    entry = receipt.entry
    print(f"Intact: the receipt of recording {entry.recording}, interview {entry.interview}.")
    if receipt.started_us is not None and receipt.ended_us is not None:
        print(f"  from {_time(receipt.started_us)} to {_time(receipt.ended_us)}")
    print(f"  of {', '.join(receipt.tracks) or 'nothing'}")
    for policy in receipt.policies:
        print(f"  under the notice {policy.notice or 'of the publisher'}")
    print(f"  sealed {_time(entry.at_us)}, {entry.tree_size} records, root {entry.root}")
    print(f"  manifest {entry.manifest}, revision {entry.revision}")
    print(f"  in the log of {receipt.key}")


def _time(unix_us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_us // 1_000_000))

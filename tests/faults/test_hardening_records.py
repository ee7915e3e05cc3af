"""The records of long campaigns are whole, and what is left is explained."""

import json
import re

import pytest
from records import RESULTS, ROOT

FIELDS = {
    "attack": str,
    "trials": int,
    "failures_found": int,
    "failures_left": int,
    "seconds": (int, float),
    "test": str,
}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_record_is_whole(path):
    record = json.loads(path.read_text())
    assert record.keys() >= {"campaign", "date", "commit", "versions"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", record["commit"])
    assert "python" in record["versions"]
    assert not re.search(r"/(home|root|work|tmp|Users)/", path.read_text())
    assert record["rows"]
    for row in record["rows"]:
        assert row.keys() - {"notes"} == FIELDS.keys()
        for name, kind in FIELDS.items():
            assert isinstance(row[name], kind), name
        assert row["trials"] > 0
        assert 0 <= row["failures_left"] <= row["failures_found"]
        assert row["failures_left"] == 0 or row.get("notes"), "what is left needs a reason"
        for place in row["test"].split(", "):
            assert (ROOT / place.partition("::")[0]).is_file(), place

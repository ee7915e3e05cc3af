"""SECURITY.md says what the record says; its links lead somewhere."""

import json
import re

from attack_table import _RECORD, PAGE, ROOT, with_table


def test_table_is_up_to_date():
    text = PAGE.read_text()
    assert with_table(text) == text, "run python tests/hostile/attack_table.py"


def test_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE.read_text())
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_a_million_executions_and_nothing_left():
    rows = json.loads(_RECORD.read_text())["rows"]
    assert sum(row["trials"] for row in rows) >= 1_000_000
    assert [row["attack"] for row in rows if row["failures_left"]] == []

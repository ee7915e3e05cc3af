"""The reference follows from the docstrings, and misses no name that our pages and examples use."""

import ast
import importlib
import inspect
import re
from collections import Counter

import pytest
from reference_pages import PAGES, reference_pages
from reference_source import ROOT, entry_in, entry_of
from reference_topics import TOPICS

from litestereo import errors

ENTRIES = [each for topic in TOPICS.values() for each in topic.entries()]
TEXTS = {path.name: text for path, text in reference_pages().items()}


def used():
    """Return (module, names) of all that README, docs and examples import of ours."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
    codes = [c for p in pages for c in re.findall(r"```python\n(.*?)```", p.read_text(), re.S)]
    codes += [path.read_text() for path in ROOT.glob("examples/*.py")]
    found = [n for c in codes for n in ast.walk(ast.parse(c)) if isinstance(n, ast.ImportFrom)]
    ours = [node for node in found if node.module.split(".")[0] == "litestereo"]
    return [(node.module, {alias.name for alias in node.names}) for node in ours]


def listed(module):
    """Return `__all__` of a module, read and not imported: some need ROS or a GPU."""
    entry = entry_of(module, "__all__")
    return set(ast.literal_eval(entry.node.value))


def is_explained(name):
    return name in {name for _, name in ENTRIES} | set(errors.__all__) | {"__version__"}


def anchors(text):
    """Return the anchors that GitHub gives to the headings outside of code."""
    heads = re.findall(r"^#+ (.+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]


def test_pages_are_up_to_date():
    written = {path.name: path.read_text() for path in PAGES.glob("*")}
    assert written == TEXTS, "run python tests/docs/reference_pages.py"


def test_every_name_is_on_one_page_and_has_words():
    assert [name for name, count in Counter(n for _, n in ENTRIES).items() if count > 1] == []
    assert [name for module, name in ENTRIES if not entry_of(module, name).doc] == []


def test_what_pages_and_examples_import_is_explained():
    found = used()
    assert {"litestereo", "litestereo.runtime.stream"} <= {module for module, _ in found}
    names = {name for module, taken in found for name in taken | listed(module)}
    assert [name for name in sorted(names | listed("litestereo")) if not is_explained(name)] == []


@pytest.mark.parametrize("page", TEXTS)
def test_its_imports_work(page):
    names = {}
    exec(re.search(r"```python\n(.*?)```", TEXTS[page], re.S)[1], names)
    assert {name for _, name in TOPICS[page.removesuffix(".md")].entries()} <= set(names)


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    assert [name for name, count in Counter(anchors(TEXTS[page])).items() if count > 1] == []
    prose = re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", prose):
        path = PAGES / (target or page)
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), f"{target}#{anchor}"


@pytest.mark.parametrize("page", TEXTS)
def test_nothing_is_left_of_the_docstrings_form(page):
    prose = re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.M | re.S)
    assert re.findall(r"^(?: {4}.*|.* Example:)$", prose, re.M) == []


@pytest.mark.parametrize(("module", "name"), ENTRIES)
def test_signatures_are_those_of_the_code(module, name):
    entry = entry_of(module, name)
    for short, each in {"": entry, **entry.members()}.items():
        if isinstance(each.node, ast.FunctionDef) and "property" not in each.marks:
            found = getattr(importlib.import_module(module), name)
            real = inspect.signature(getattr(found, short) if short else found).parameters
            shown = [re.match(r"\**(\w*)", p)[1] for p in each.parameters()]
            assert [p for p in shown if p] == [p for p in real if p != "self"]


def test_docs_lead_to_every_page():
    index = (ROOT / "docs/README.md").read_text()
    assert [page for page in TEXTS if f"](reference/{page})" not in index] == []
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"All pages: .*\[reference\]\(docs/README.md#reference\)", readme)


def test_a_definition_is_read_as_it_is_written():
    source = '''
@dataclass(frozen=True)
class Options:
    """What is asked."""
    size: tuple[int, int] | None = None
    rate: float = 5e-4
class Maker:
    def __init__(self, path: Path, *more: int, count: int = 100_000) -> None:
        """Take a path."""
    @property
    def size(self) -> int:
        """How large it is."""
Kind = Literal["a", "b"]
"""Which of the two."""
'''
    options = entry_in(source, "Options").code()
    assert options == (
        "@dataclass(frozen=True)\nclass Options:\n"
        "    size: tuple[int, int] | None = None\n    rate: float = 5e-4"
    )
    maker = entry_in(source, "Maker")
    assert maker.code() == "class Maker(path: Path, *more: int, count: int = 100_000)"
    assert (maker.members()["size"].returns, maker.members()["size"].doc) == (
        "int",
        "How large it is.",
    )
    kind = entry_in(source, "Kind")
    assert (kind.code(), kind.doc) == ('Kind = Literal["a", "b"]', "Which of the two.")
    assert entry_in(source, "Other") is None

"""The YAML reader: what calibration files use, and nothing guessed."""

import pytest

from litestereo.errors import InputError
from litestereo.runtime.geometry.yaml_subset import yaml_documents

FILE = """\
%YAML:1.0
---
# made by a tool
name: "left: 'eye'"   # with a comment
width: 640
M1: !!opencv-matrix
   rows: 2
   cols: 2
   dt: d
   data: [ 1., 2.5e+02,
       -3, .5 ]
chain:
- [1, 2]
- - 3
  - 4
nested:
    deep: {a: 1, b: [x, 'y, z']}
    empty:
    flag: true
topic: /cam0/image_raw
url: http://host:80/path
"""


def test_reads_what_calibrations_use():
    (document,) = yaml_documents(FILE)
    assert document == {
        "name": "left: 'eye'",
        "width": 640,
        "M1": {"rows": 2, "cols": 2, "dt": "d", "data": [1.0, 250.0, -3, 0.5]},
        "chain": [[1, 2], [3, 4]],
        "nested": {"deep": {"a": 1, "b": ["x", "y, z"]}, "empty": None, "flag": True},
        "topic": "/cam0/image_raw",
        "url": "http://host:80/path",
    }


def test_reads_several_documents():
    assert yaml_documents("a: 1\n---\na: 2\n---\n") == [{"a": 1}, {"a": 2}]


def test_lists_of_maps():
    assert yaml_documents("- a: 1\n  b: 2\n- a: 3\n") == [[{"a": 1, "b": 2}, {"a": 3}]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", "not closed"),
        ("a: 1\na: 2\n", "twice"),
        ("a: &anchor 1\n", "do not use"),
        ("a: |\n  text\n", "do not use|indented under"),
        ("a:\n\tb: 1\n", "tab"),
        ("a: 1\n  b: 2\n", "indented under a value"),
        ("a: 'x\n", "open quote"),
        ("  a: 1\nb: 2\n", "indented less"),
        ("a: 1\njust words\n", "no 'key: value'"),
        ("a: [1 [2]]\n", "comma"),
        ("a: {b}\n", "no value"),
        ("\n".join(" " * i + "k:" for i in range(30)) + " 1\n", "deeper"),
    ],
)
def test_refuses_the_rest_with_its_line(text, message):
    with pytest.raises(InputError, match=message):
        yaml_documents(text)


def test_agrees_with_opencv(tmp_path):
    cv2 = pytest.importorskip("cv2")
    np = pytest.importorskip("numpy")
    matrix = np.random.default_rng(1).normal(size=(3, 4))
    path = tmp_path / "matrix.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("M", matrix)
    storage.release()
    (document,) = yaml_documents(path.read_text())
    assert document["M"]["data"] == matrix.ravel().tolist()
